"""Two runs: what is called worse, what noise, and what neither."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from loadtest import report
from loadtest.compare import BETTER, SAME, UNCLEAR, WORSE, Comparison, compare, differences
from loadtest.plan import COMPARISON, DOUBTFUL
from loadtest.profile import CallLoad, CameraLoad, Event, StackSpec, Stage
from loadtest.results import Run
from sightline import load
from tests.loadtest.runs import PROFILE, made_run


def slower(_second: int, rng: np.random.Generator) -> float:
    return 1.4 * float(rng.lognormal(4, 0.2))


def nothing_at(first_s: int, last_s: int, status: str = "dropped") -> Callable[[int], str]:
    """An outage."""
    return lambda frame: status if first_s <= frame // 10 < last_s else "delivered"


def verdicts(first: Run, second: Run, tolerance: float = 0.1) -> dict[str, str]:
    return {item.metric: item.verdict for item in compare(first, second, tolerance)}


def test_equal_runs_are_the_same_however_noisy() -> None:
    for seed in range(6):
        assert set(verdicts(made_run(seed=seed), made_run(seed=seed + 100)).values()) == {SAME}


def test_a_slower_run_is_worse_and_a_faster_better() -> None:
    first, slow = made_run(), made_run(seed=1, age_ms=slower)
    ages = {"age p50", "age p90", "age p99", "age max"}
    assert {m for m, verdict in verdicts(first, slow).items() if verdict == WORSE} == ages
    assert {m for m, verdict in verdicts(slow, first).items() if verdict == BETTER} == ages
    assert verdicts(first, slow, 0.6)["age p50"] == SAME  # within what is tolerated


def test_a_difference_that_comes_and_goes_is_noise() -> None:
    def bursts(second: int, rng: np.random.Generator) -> float:
        return float(rng.lognormal(4, 0.2)) * (1.5 if second % 20 < 8 else 1.0)

    assert verdicts(made_run(age_ms=bursts), made_run(age_ms=bursts, seed=5))["age p99"] == SAME


def test_a_slow_run_with_an_outage_is_worse_than_a_calm_one() -> None:
    """The blocks without a result are slower than all others; they once made the whole comparison a NaN."""
    bad = made_run(seed=1, age_ms=lambda *of: 3 * slower(*of), status=nothing_at(20, 32))
    found = verdicts(made_run(), bad)
    assert found["age p50"] == found["age p99"] == WORSE
    assert found["not delivered %"] == UNCLEAR  # one outage may be chance, but it is no noise
    assert verdicts(bad, made_run())["age p50"] == BETTER


def test_nothing_delivered_at_all_is_worse_and_never_the_same() -> None:
    dead = made_run(seed=1, status=nothing_at(0, 60))
    found = verdicts(made_run(), dead)
    assert found["age p50"] == found["not delivered %"] == found["ms per delivered frame"] == WORSE
    assert {m for m, verdict in verdicts(dead, dead).items() if verdict == SAME} == {
        "not delivered %",
        "errored %",
    }


@pytest.mark.parametrize(("status", "metric"), [("dropped", "not delivered %"), ("errored", "errored %")])
def test_a_share_that_is_not_delivered_is_noticed(status: str, metric: str) -> None:
    def some(frame: int) -> str:
        return status if frame % 12 == 0 else "delivered"  # 8 %

    (item,) = [
        item for item in compare(made_run(), made_run(seed=1, status=some), 0.1) if item.metric == metric
    ]
    assert item.verdict == WORSE
    assert item.change == pytest.approx(8.3, abs=0.5)
    assert item.cells[3] == f"{item.change:+.1f} points"


def test_a_ratio_of_values_that_are_not_finite_is_no_noise() -> None:
    item = Comparison("age p50", False, 50.0, float("inf"), float("inf"), 1.0, float("inf"), 0.2, 0.1)
    assert item.verdict == UNCLEAR


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"camera": CameraLoad(15)},
            "camera is 10 frames/s, none older than 1000 ms in the first run, 15 frames/s, none older",
        ),
        (
            {"camera": None, "predict": CallLoad(0.5)},
            "camera is 10 frames/s, .* in the first run, none in the second",
        ),
        (
            {"predict": CallLoad(weight=2)},
            "predict is none in the first run, one call after another, 10 s for an answer, weight 2",
        ),
        (
            {"stages": (Stage(2, 60),)},
            "stages is 1 user for 60 s in the first run, 2 users for 60 s in the second",
        ),
        ({"images": "synthetic:fps=2"}, "images is synthetic:fps=1 in the first run"),
        ({"warmup_s": 5.0}, "warmup_s is 2 in the first run, 5 in the second"),
    ],
)
def test_other_loads_are_not_compared(change: dict[str, object], says: str) -> None:
    other = made_run(profile=replace(PROFILE, **change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"not the same load, nothing to compare: {says}"):
        compare(made_run(), other, 0.1)


def test_other_stacks_and_faults_are_told_in_words() -> None:
    events = (Event("slow", "faults/delay", 10, 20), Event("all", "weights/100", 30))
    other = made_run(profile=replace(PROFILE, stack=StackSpec(True, 30, 2), events=events))
    told = [text for text in differences(made_run(), other) if not text.startswith("relay")]
    assert told == [
        "stack: none in the first run, stand-in servers of 30 ms, 2 frames at once behind the mesh in the second",
        "events: none in the first run, faults/delay from 10 s to 20 s, then weights/100 from 30 s on in the second",
    ]
    plain = made_run(profile=replace(PROFILE, stack=StackSpec(False)))
    assert "stack: real servers without a mesh in the first run, none in the second" in differences(
        plain, made_run()
    )


def test_short_runs_and_searches_are_not_compared() -> None:
    with pytest.raises(ValueError, match="too short to compare: expected 27 s"):
        compare(made_run(20), made_run(20), 0.1)
    found = made_run()
    found.found = {"users": 1, "most": 2, "goals": []}
    with pytest.raises(ValueError, match="changes the load as it goes"):
        compare(made_run(), found, 0.1)


def test_the_command_prints_writes_a_page_and_has_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = made_run(seed=3, own_ms=40)
    slow = made_run(seed=1, age_ms=slower)
    slow.machine = {**slow.machine, "Python": "<3.0>"}
    for name, run in {"first": made_run(), "again": made_run(seed=2), "slow": slow, "late": late}.items():
        (tmp_path / name).mkdir()
        report.write(run, tmp_path / name)

    def status(first: str, second: str) -> int:
        return load.compare(tmp_path / first, tmp_path / second, 0.1, Console(file=io.StringIO()))

    capsys.readouterr()
    assert status("first", "again") == 0
    assert status("first", "slow") == 1
    said = capsys.readouterr().out
    assert "not same  Python: 3." in said
    page = (tmp_path / "slow" / COMPARISON).read_text()
    assert "WORSE: age p50, age p90" in page
    assert "&lt;3.0&gt;" in page
    assert page.count("<img ") == 3
    assert page.count("data:image/svg+xml;base64,") == 2 * 3  # narrow ones too
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert status("first", "late") == DOUBTFUL
    assert "WARNING   second" in capsys.readouterr().out
