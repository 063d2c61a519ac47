"""When a run's figures are not to be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gevent
import pytest
from typer.testing import CliRunner

from loadtest.percentiles import percentile_s
from loadtest.probe import watch_loop
from loadtest.profile import CallLoad, CameraLoad, Goal
from loadtest.record import DROPPED, LAG, LATENESS, Recorder, Store
from loadtest.results import Run
from loadtest.shape import Plateau
from loadtest.trust import short_percent, warnings
from sightline.commands.load import app
from tests.loadtest.runs import BEGAN_S, PROFILE, made_run


def with_own(run: Run, series: str, own_s: Callable[[int], float]) -> Run:
    """The run, with other values of the generator itself: a hundred a second."""
    recorder = Recorder()
    for number in range(100 * 60):
        recorder.add(series, BEGAN_S + number / 100, own_s(number))
    run.store.series.pop(series)
    run.store.add(recorder.flush())
    return run


@pytest.mark.parametrize(("series", "says"), [(LATENESS, "sent frames"), (LAG, "noticed results")])
def test_each_delay_of_the_generator_alone_is_told(series: str, says: str) -> None:
    (warning,) = warnings(with_own(made_run(), series, lambda _: 0.04))
    assert warning.startswith(f"the load generator {says} 40.0 ms late at p99")


def test_where_nothing_was_delivered_no_delay_is_blamed() -> None:
    run = made_run(status=lambda _: DROPPED)
    assert warnings(with_own(run, LAG, lambda _: 0.04)) == []


def test_a_goal_at_another_percentile_is_judged_there() -> None:
    """Half a percent of the samples is late: nothing at p99, all at p99.9."""

    def rare(number: int) -> float:
        return 0.3 if number % 200 == 0 else 0.0001

    assert warnings(with_own(made_run(), LAG, rare)) == []
    strict = replace(PROFILE, slo=(Goal("age_ms", at=99.9, max=500),))
    (warning,) = warnings(with_own(made_run(profile=strict), LAG, rare))
    assert "late at p99.9, more than" in warning


def test_an_overloaded_plateau_excuses_no_other() -> None:
    """30 s of calm, then 30 s in which frames take 3 s: a delay of 30 ms is nothing then, but much before."""
    run = made_run(age_ms=lambda second, _: 50 if second < 30 else 3000)
    run.plateaus = [Plateau(1, BEGAN_S, BEGAN_S + 30), Plateau(1, BEGAN_S + 30, BEGAN_S + 60)]
    (warning,) = warnings(with_own(run, LATENESS, lambda number: 0.03 if number < 3000 else 0.0))
    assert "30.0 ms late at p99 with 1 user, more than 5.0 ms" in warning
    assert warnings(with_own(run, LATENESS, lambda number: 0.0 if number < 3000 else 0.03)) == []


def test_a_search_judges_the_trials_next_to_its_answer() -> None:
    run = made_run()
    run.plateaus = [Plateau(n, BEGAN_S + 20 * i, BEGAN_S + 20 * i + 20) for i, n in enumerate((1, 2, 4))]
    run.found = {"users": 1, "most": 8, "goals": []}
    assert [p.users for p in run.decisive] == [1, 2]
    run.found = {"users": 4, "most": 4, "goals": []}
    assert [p.users for p in run.decisive] == [4]
    run.found = {"users": 0, "most": 4, "goals": []}
    assert [p.users for p in run.decisive] == [1]


def test_less_load_than_planned_is_told() -> None:
    run = made_run()
    run.plateaus = [Plateau(2, BEGAN_S, BEGAN_S + 60)]  # two cameras should have sent 20 a second
    (warning,) = warnings(run)
    assert warning.startswith("the load generator offered 50 % of the 20 frames/s that 2 users would send")
    window = run.store.window(BEGAN_S, BEGAN_S + 10)
    plateau = Plateau(1, BEGAN_S, BEGAN_S + 10)
    for fps, percent in ((10, None), (10.15, None), (20, 50)):  # one frame more or less is the window's edge
        assert short_percent(replace(PROFILE, camera=CameraLoad(fps)), plateau, window) == percent
    closed = replace(PROFILE, camera=None, predict=CallLoad(0))
    assert short_percent(closed, plateau, window) is None
    assert (
        short_percent(replace(PROFILE, predict=CallLoad(5)), plateau, window) is None
    )  # which of both it is


def test_a_user_that_ended_and_a_clock_that_is_off_are_told() -> None:
    run = made_run()
    run.failure = "camera: no token"
    run.store.behind_s = {"near": 0.01, "far": -3.0}
    assert warnings(run) == [
        "a user ended, and the run with it: camera: no token",
        "a worker's clock is -3.0 s behind the master's: its frames are in the wrong seconds",
    ]


def test_the_probe_notes_a_stall_in_full() -> None:
    """The loop stands still for 0.3 s of 0.6 s: as one sample of many that would not show at p50."""
    recorder, store = Recorder(), Store()
    watching = gevent.spawn(watch_loop, recorder)
    gevent.sleep(0.2)
    time.sleep(0.3)
    gevent.sleep(0.1)
    watching.kill()
    store.add(recorder.flush())
    late = store.values(LAG)
    assert percentile_s(late, 100) == pytest.approx(0.29, abs=0.08)
    assert late.total_count > 20
    assert percentile_s(late, 70) > 0.1


def test_the_help_and_the_documentation_say_all_that_status_3_means() -> None:
    told = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "120"}).stdout
    for text in (told, (Path(__file__).parents[2] / "docs/load.md").read_text()):
        words = " ".join(text.replace("│", " ").split())
        for reason in (
            "the generator was the bottleneck", "it offered less than was planned", "a user ended with an error",
            "a worker's clock was off", "frames are not accounted for",
        ):  # fmt: skip
            assert reason in words
