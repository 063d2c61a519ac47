"""Trials and stages in time, and how a trial is judged."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from loadtest import search as searching
from loadtest import shape
from loadtest.plan import Search
from loadtest.profile import CameraLoad, Goal, Profile, Stage
from loadtest.record import DELIVERED, DROPPED, Recorder, Store, fate
from loadtest.search import SearchClock
from loadtest.shape import SETTLE_S, StageClock, settling_s

GOALS = (Goal("age_ms", at=99, max=200), Goal("delivered_percent", min=99), Goal("lost", max=0))
PROFILE = Profile("made", "Made.", (Stage(1, 10),), camera=CameraLoad(10), slo=GOALS)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        for module in (searching, shape):
            monkeypatch.setattr(module, "time", self)

    def time(self) -> float:
        return self.now_s


# What becomes of one camera's 10 frames of a second, with so many cameras: series of fates, or "" for none yet.
Deployment = Callable[[int], list[str]]
OK = fate("camera", DELIVERED, "v1")
FULL = fate("camera", DROPPED, "mailbox")


def run(clock: Clock, deployment: Deployment, search: Search) -> SearchClock:
    """A search to its end, asked once a second."""
    store = Store()
    trials = SearchClock(search, PROFILE, store)
    while (users := trials.users()) is not None:
        recorder = Recorder()
        for _ in range(users):
            for series in deployment(users):
                recorder.offered("camera", clock.now_s)
                if series:
                    recorder.add(series, clock.now_s, 0.05)
        store.add(recorder.flush())
        clock.now_s += 1
        assert clock.now_s < 5000
    return trials


def test_a_search_asks_judges_and_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(most=16, settle_s=2, measure_s=10)
    trials = run(Clock(monkeypatch), lambda users: [OK] * 10 if users <= 5 else [OK] * 6 + [FULL] * 4, search)
    assert trials.found() == {"users": 5, "most": 16, "goals": [str(goal) for goal in GOALS]}
    assert [(p.users, p.held) for p in trials.plateaus] == [
        (1, True), (2, True), (4, True), (8, False), (6, False), (5, True), (5, True),
    ]  # fmt: skip
    for plateau in trials.plateaus[:-1]:
        begin_s, end_s = plateau.steady_s
        assert 10 <= end_s - begin_s <= 12
    begin_s, end_s = trials.plateaus[-1].steady_s
    assert 20 <= end_s - begin_s <= 22  # what is found has to hold for longer


def test_frames_without_an_answer_are_lost_to_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a hundred: delivered_percent holds, and no camera has ended that could call it lost."""
    search = Search(most=4, settle_s=2, measure_s=30)
    trials = run(
        Clock(monkeypatch), lambda users: [OK] * 10 if users == 1 else [OK] * 10 + [OK] * 1000 + [""], search
    )
    assert trials.found()["users"] == 1


def test_a_trial_with_less_load_than_planned_has_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than two cameras are more than this generator can do; each is tried twice, since that may be a moment's."""
    search = Search(most=4, settle_s=2, measure_s=10)
    trials = run(Clock(monkeypatch), lambda users: [OK] * (10 if users <= 2 else 7), search)
    assert trials.found()["users"] == 2
    assert [(p.users, p.held) for p in trials.plateaus[2:6]] == [
        (4, False),
        (4, False),
        (3, False),
        (3, False),
    ]


def test_many_users_take_longer_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settling_s(1, 0) == pytest.approx(SETTLE_S + 0.01)
    assert settling_s(500, 100, 2) == 6
    assert settling_s(1, 500, 2) == 2
    trials = run(Clock(monkeypatch), lambda _: [OK] * 10, Search(most=2, settle_s=2, measure_s=3))
    assert trials.plateaus[1].settle_s == pytest.approx(2.01)


def test_stages_follow_each_other_and_keep_what_really_was(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stages = StageClock((Stage(2, 3, "calm"), Stage(300, 2.5)))
    asked = []
    while (users := stages.users()) is not None:
        asked.append(users)
        clock.now_s += 1
    assert asked == [2, 2, 2, 300, 300, 300]
    assert [(p.name, p.begin_s, p.end_s) for p in stages.plateaus] == [("calm", 1000, 1003), ("", 1003, 1006)]
    assert stages.plateaus[1].settle_s == pytest.approx(SETTLE_S + 2.98)
    assert time.time() > 2000  # the test's own clock is nobody else's
