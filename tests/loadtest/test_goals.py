"""What goals are measured on, and what a report says beside them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest import report
from loadtest.figures import curves, milliseconds
from loadtest.goals import check
from loadtest.knee import find_knee
from loadtest.plan import MISSED, TIMELINE
from loadtest.profile import CallLoad, Event, Goal, StackSpec, Stage
from loadtest.record import DELIVERED, DROPPED, LOST, Recorder, fate
from loadtest.results import Point, Run, Span
from loadtest.sections import knee_note
from loadtest.shape import Plateau
from tests.loadtest.runs import BEGAN_S, PROFILE, made_run


def value(run: Run, goal: Goal) -> float:
    """What is measured for one goal."""
    run.profile = replace(run.profile, slo=(goal,))
    (found,) = check(run)
    return found.value


def lost_at(*frames: int) -> Run:
    """A run of 600 frames in 60 s that has lost some."""
    return made_run(status=lambda frame: LOST if frame in frames else DELIVERED)


@pytest.mark.parametrize("frame", [0, 5, 300, 594, 599])
def test_a_lost_frame_counts_whenever_it_was(frame: int) -> None:
    """In the warm-up, and in the last half second too."""
    assert value(lost_at(frame), Goal("lost", max=0)) == 1


def test_lost_during_an_event_is_that_events() -> None:
    run = lost_at(150, 300, 599)
    run.events = [Span("on", BEGAN_S + 10, BEGAN_S + 20)]
    run.profile = replace(PROFILE, events=(Event("on", "mirror", 10, 20),), stack=StackSpec(True))
    goal = Goal("lost", max=0, during="on")
    run.profile = replace(run.profile, slo=(goal,))
    assert [c.value for c in check(run)] == [1]


@pytest.mark.parametrize(
    ("frames", "recovery_s"),
    [((), 0.0), ((50,), 0.0), ((206,), 0.5), ((212,), 1.5), ((212, 247), 4.5), ((350,), 0.0)],
)
def test_recovery_is_until_the_last_slot_with_a_frame_that_was_not_delivered(
    frames: Sequence[int], recovery_s: float
) -> None:
    """From 20.5 s on, the slot of the end included, up to the next event's begin at 30 s."""
    run = lost_at(*frames)
    run.events = [Span("on", BEGAN_S + 10, BEGAN_S + 20.5), Span("next", BEGAN_S + 30, BEGAN_S + 40)]
    run.profile = replace(
        PROFILE,
        events=(Event("on", "mirror", 10, 20.5), Event("next", "mirror", 30, 40)),
        stack=StackSpec(True),
        slo=(Goal("recovery_s", during="on", max=3),),
    )
    (found,) = check(run)
    assert found.value == pytest.approx(recovery_s)
    assert found.ok == (recovery_s <= 3)


def test_recovery_from_what_did_not_happen_is_not_known() -> None:
    run = made_run()
    run.profile = replace(
        PROFILE, events=(Event("on", "mirror", 10, 20),), stack=StackSpec(True),
        slo=(Goal("recovery_s", during="on", max=3),),
    )  # fmt: skip
    (found,) = check(run)
    assert math.isnan(found.value)
    assert not found.ok


def test_drift_compares_the_last_quarter_with_the_first() -> None:
    run = made_run(age_ms=lambda second, _: 100 if second < 40 else 130)
    assert value(run, Goal("drift_percent", max=20)) == pytest.approx(30, abs=0.5)
    assert value(made_run(age_ms=lambda *_: 100), Goal("drift_percent", max=20)) == pytest.approx(0, abs=0.1)


def test_user_and_stage_narrow_down_which_frames_count() -> None:
    run = made_run(age_ms=lambda second, _: 50 if second < 30 else 500)
    recorder = Recorder()
    for second in range(60):
        recorder.offered("predict", BEGAN_S + second)
        recorder.add(fate("predict", "errored", "UNAVAILABLE"), BEGAN_S + second, 0.01)
    run.store.add(recorder.flush())
    run.plateaus = [
        Plateau(1, BEGAN_S, BEGAN_S + 30, "calm"),
        Plateau(2, BEGAN_S + 30, BEGAN_S + 60, "busy"),
    ]
    stages = (Stage(1, 30, "calm"), Stage(2, 30, "busy"))
    run.profile = replace(PROFILE, predict=CallLoad(1), stages=stages)
    assert value(run, Goal("age_ms", at=99, during="calm", max=1)) == pytest.approx(50, rel=0.01)
    assert value(run, Goal("age_ms", at=50, during="busy", max=1)) == pytest.approx(500, rel=0.01)
    assert value(run, Goal("errored_percent", user="camera", max=1)) == 0
    assert value(run, Goal("errored_percent", user="predict", max=1)) == 100
    assert value(run, Goal("errored_percent", max=1)) == pytest.approx(100 / 11)
    assert value(run, Goal("version_percent", version="v1", user="camera", min=1)) == 100


def test_p99_9_is_told_of_a_thousand_frames_or_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.write(made_run(), tmp_path)
    assert "p99.9" not in capsys.readouterr().out
    assert {"p99", "max"} <= milliseconds(curves(made_run())["camera"]).keys()
    (tmp_path / "long").mkdir()
    report.write(made_run(110), tmp_path / "long")
    assert "p99.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "problems", "says"),
    [
        (
            60,
            {"camera: no answer": 7, "camera: gone": 9},
            "MISSED    Nothing was delivered: camera: gone (9 times)",
        ),
        (60, {}, "MISSED    Nothing was delivered: camera/dropped (570 times)"),
        (1, {}, "MISSED    Nothing was delivered: nothing was due after the warm-up"),
    ],
)
def test_where_nothing_was_delivered_the_reason_is_told_and_goals_have_no_value(
    seconds: int, problems: dict[str, int], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(seconds, status=lambda _: DROPPED, profile=replace(PROFILE, slo=(Goal("age_ms", max=9),)))
    run.store.problems.update(problems)
    assert report.write(run, tmp_path) == MISSED
    said = capsys.readouterr().out.splitlines()
    assert says in said
    assert "MISSED    age_ms p99 <= 9: no value" in said


def test_closed_callers_are_called_closed() -> None:
    run, recorder = made_run(), Recorder()
    recorder.offered("predict", BEGAN_S + 10)
    recorder.add(fate("predict", DELIVERED, "v1"), BEGAN_S + 10, 0.1)
    run.store.add(recorder.flush())
    for rate, name in ((0.0, "predict (closed)"), (5.0, "predict")):
        run.profile = replace(PROFILE, predict=CallLoad(rate))
        assert list(curves(run)) == ["camera", name]


def test_the_timeline_has_a_row_for_a_second_in_which_nothing_was_due(tmp_path: Path) -> None:
    run = made_run()
    for second in (20, 21, 22):
        del run.store.offered["camera"][int(BEGAN_S) + second]
        for slots in run.store.series.values():
            slots.pop(int(BEGAN_S) + second, None)
    report.write(run, tmp_path)
    rows = list(csv.DictReader((tmp_path / TIMELINE).read_text().splitlines()))
    assert len(rows) == 60
    assert [(row["offered"], row["p50_ms"]) for row in rows[20:23]] == [("0", "")] * 3
    (point,) = run.points()
    assert point.offered_per_s == pytest.approx(10 * 55 / 58, abs=0.1)


def test_a_searchs_figures_are_those_of_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three trials of 20 s, in the last of which frames took ten times as long and failed the goals."""
    run = made_run(age_ms=lambda second, _: 50 if second < 40 else 500, profile=replace(PROFILE, warmup_s=0))
    run.plateaus = [
        Plateau(users, BEGAN_S + 20 * i, BEGAN_S + 20 * i + 20, held=held)
        for i, (users, held) in enumerate(((1, False), (1, True), (2, False)))
    ]
    run.found = {"users": 1, "most": 8, "goals": ["lost <= 0"]}
    assert milliseconds(curves(run)["camera"])["p99"] == pytest.approx(50, rel=0.01)
    report.write(run, tmp_path)
    said = capsys.readouterr().out
    assert "(of the last trial of 1 user)" in said
    assert "answer    1 user at 10 frames/s each holds in 1 of 2 trials: lost <= 0" in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("    ") and "10.0" in line] == [
        "no", "yes", "no",
    ]  # fmt: skip


def points(*delivered_percent: float) -> list[Point]:
    return [Point(n, 10.0 * n, 0.1 * n * p, p, 30, 30, 60) for n, p in enumerate(delivered_percent, 1)]


@pytest.mark.parametrize(
    ("curve", "says"),
    [
        (points(100, 100), "All that was offered came out"),
        (points(100, 50), "2 loads are too few to tell a knee"),
        (points(100, 99.5, 100, 100), "All that was offered came out"),
        (points(100, 100, 100, 60, 50), "No more than 2. frames/s come out; 2 users is the most"),
    ],
)
def test_what_is_said_of_the_knee(curve: list[Point], says: str) -> None:
    assert re.search(says, knee_note(curve, find_knee(curve)))
