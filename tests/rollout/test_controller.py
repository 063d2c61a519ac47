"""The controller without a stack: kills, lost sources, restarts, people, and frames that do not come."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from sightline.rollout.config import RolloutConfig
from sightline.rollout.controller import Clock, Controller
from sightline.rollout.gates import parse_gates
from sightline.rollout.source import Reading, SourceLost
from sightline.rollout.state import Command, Phase, State

GATES = parse_gates({"success_ratio": "0.99", "age_p99_s": "0.3", "min_requests": "50"})
CONFIG = RolloutConfig(GATES, steps=(5, 50, 100), hold_s=10.0)


class KilledError(BaseException):
    """The controller's process is gone."""


@dataclass
class World:
    """Source, weights, store and clock of a controller, all outliving it. 20 frames/s, of which the weight's share and
    10 a second from the shadow reach the candidate."""

    ok_share: float = 1.0
    in_time_share: float = 1.0
    stable_in_time_share: float = 1.0
    shadows: float = 10.0
    frames: float = 20.0
    weight: int = 20  # that the mesh serves
    now_s: float = 0.0
    saved: State | None = None
    commands: dict[float, Command] = field(default_factory=dict)  # by the time when they are given
    lost: Callable[[float], bool] = lambda _now_s: False
    obeys: bool = True  # the mesh takes weights over
    weights: list[tuple[float, int]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)  # at which weight the labels were moved
    kill_at: int = -1  # after so many effects
    effects: int = 0
    counts: list[float] = field(default_factory=lambda: [0.0] * 6)
    restart_at_s: float = -1.0  # a part of the stack is started again: its counters begin at 0
    asked_while_lost: int = 0
    poll_s: float = 0.5

    def _effect(self) -> None:
        if self.effects == self.kill_at:
            raise KilledError
        self.effects += 1

    def save(self, state: State) -> None:
        self._effect()
        self.saved = copy.deepcopy(state)
        self._effect()

    def set_weight(self, to: str, percent: int) -> None:
        self._effect()
        self.weights.append((self.now_s, percent))
        if self.obeys:
            self.weight = percent
        self._effect()

    def record(self, entry: dict[str, Any]) -> None:
        self._effect()
        self.records.append(entry)

    def command(self) -> Command | None:
        due = [at_s for at_s in self.commands if at_s <= self.now_s]
        return self.commands.pop(min(due)) if due else None

    def read(self, window_s: float) -> Reading:
        if self.lost(self.now_s):
            self.asked_while_lost += 1
            raise SourceLost("the relay does not answer")
        return Reading(*(int(count) for count in self.counts), weight=self.weight)  # type: ignore[arg-type, misc]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        user = self.frames * self.weight / 100 * seconds
        requests, stable = user + self.shadows * seconds, self.frames * seconds - user
        grown = (
            requests * self.ok_share,
            requests * (1 - self.ok_share),
            user * self.in_time_share,
            user,
            stable * self.stable_in_time_share,
            stable,
        )
        self.counts = [count + more for count, more in zip(self.counts, grown, strict=True)]
        if 0 <= self.restart_at_s <= self.now_s:
            self.counts, self.restart_at_s = [0.0] * 6, -1.0
        if self.now_s > 100_000:
            raise TimeoutError

    def promoted(self, _state: State) -> None:
        self._effect()
        self.labelled.append(self.weight)
        self._effect()

    def run(self, config: RolloutConfig = CONFIG, limit_s: float = 1e9) -> State:
        """A controller from its start, or from what the last one left, to its end."""
        state = self.saved or State(config.as_json(), "", 0.0)
        end_s = self.now_s + limit_s

        def sleep(seconds: float) -> None:
            self.sleep(seconds)
            if self.now_s > end_s:
                raise TimeoutError

        clock = Clock(lambda: self.now_s, sleep, self.poll_s)
        parts, state = (self, self, self), copy.deepcopy(state)
        return Controller(config, state, parts, self.said.append, clock, self.promoted).run()

    @property
    def steps(self) -> list[int]:
        return [percent for _, percent in self.weights]


def test_a_good_candidate_takes_every_step_and_each_for_its_hold() -> None:
    world = World()
    assert world.run().phase is Phase.PROMOTED
    assert world.steps == [5, 50, 100]
    assert world.labelled == [100]
    times = [at_s for at_s, _ in world.weights]
    assert all(after - before >= CONFIG.hold_s for before, after in pairwise(times))


@pytest.mark.parametrize(
    ("change", "gate"), [({"ok_share": 0.9}, "success_ratio"), ({"in_time_share": 0.5}, "age_p99")]
)
def test_a_bad_candidate_loses_its_frames_at_once(change: dict[str, Any], gate: str) -> None:
    world = replace(World(), **change)
    state = world.run()
    assert state.phase is Phase.ROLLED_BACK
    assert gate in state.reason
    assert world.steps == [5, 0]
    assert world.records[-1]["verdict"] == "fail"
    # At the poll that said so, not at the end of the hold.
    assert world.weights[-1][0] - world.weights[0][0] == world.records[-1]["held_s"] + 0.5


def test_a_machine_that_is_late_with_both_does_not_blame_the_candidate() -> None:
    """At 100 % too, where the stable version has no frames any more; and whoever goes on in between knows."""
    world = World(in_time_share=0.8, stable_in_time_share=0.8, poll_s=2.0)
    assert world.run().phase is Phase.PROMOTED
    (last,) = [check for check in world.records[-1]["checks"] if check["name"] == "age_p99"]
    assert 0.5 < last["limit"] < 0.8
    assert "the stable version's come late too" in last["text"]
    world = World(in_time_share=0.8, stable_in_time_share=0.8, poll_s=2.0)
    before = world.sleep

    def sleep(seconds: float) -> None:
        before(seconds)
        if world.weight == 100 and world.kill_at < 0:
            world.kill_at = world.effects

    world.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        world.run()
    world.sleep, world.kill_at = before, -1  # type: ignore[method-assign]
    assert world.run().phase is Phase.PROMOTED


def test_a_few_late_answers_of_the_stable_version_excuse_nothing() -> None:
    """Its interval is wide where it has few answers; that is no lateness."""
    state = World(in_time_share=0.6, stable_in_time_share=1.0, frames=10.0).run(
        replace(CONFIG, steps=(50, 100))
    )
    assert state.phase is Phase.ROLLED_BACK
    assert "at least 0.99" in state.reason


def test_a_candidate_that_is_later_than_a_late_stable_version_goes_back() -> None:
    state = World(in_time_share=0.5, stable_in_time_share=0.8).run()
    assert state.phase is Phase.ROLLED_BACK
    assert "age_p99 0.5" in state.reason


def test_no_traffic_waits_for_ever_and_is_neither_good_nor_bad() -> None:
    world = World(frames=0.0, shadows=0.0)
    with pytest.raises(TimeoutError):
        world.run(limit_s=5000)
    assert world.steps == [5]
    assert {record["verdict"] for record in world.records} == {"wait"}
    world.frames, world.shadows = 20.0, 10.0
    assert world.run().phase is Phase.PROMOTED


def test_what_cannot_be_shown_to_be_good_goes_back() -> None:
    world = World(ok_share=0.986, shadows=2.0)  # below the limit, and the interval reaches above it
    state = world.run()
    assert state.phase is Phase.ROLLED_BACK
    assert "not shown to be good" in state.reason
    assert world.weights[-1][0] >= 3 * CONFIG.hold_s


def test_a_lost_source_holds_and_the_step_begins_anew() -> None:
    world = World(lost=lambda now_s: 5 < now_s < 500)
    assert world.run().phase is Phase.PROMOTED
    assert world.asked_while_lost > 100
    assert not [record for record in world.records if 5 < record["at_s"] < 500]
    assert world.weights[1][0] >= 500 + CONFIG.hold_s
    assert sum(line.startswith("holds") for line in world.said) == 1  # said once, not a hundred times


def test_a_lost_source_does_not_keep_a_person_from_aborting() -> None:
    world = World(lost=lambda now_s: now_s > 5, commands={50.0: Command.ABORT})
    assert world.run().phase is Phase.ABORTED
    assert world.weights[-1] == (50.0, 0)


def test_counters_that_begin_anew_are_no_failure() -> None:
    world = World(restart_at_s=8.0)
    assert world.run().phase is Phase.PROMOTED
    assert world.weights[1][0] >= 8.0 + CONFIG.hold_s


def test_a_mesh_that_does_not_take_the_weight_holds() -> None:
    world = World(obeys=False)
    with pytest.raises(TimeoutError):
        world.run(limit_s=60)
    assert set(world.steps) == {5}
    assert len(world.steps) > 5  # it is told again
    assert world.records == []
    assert any("instead of 5 %" in line for line in world.said)


def test_a_weight_that_somebody_else_changed_is_set_again() -> None:
    world = World()
    before = world.sleep

    def sleep(seconds: float) -> None:
        before(seconds)
        if world.now_s == 4.0:
            world.weight = 80

    world.sleep = sleep  # type: ignore[method-assign]
    assert world.run().phase is Phase.PROMOTED
    assert world.steps == [5, 5, 50, 100]


def test_people_pause_promote_and_abort() -> None:
    world = World(commands={3.0: Command.PAUSE, 200.0: Command.PROMOTE, 203.0: Command.PROMOTE})
    assert world.run().phase is Phase.PROMOTED
    at_s = {percent: at for at, percent in world.weights}
    assert 200 <= at_s[50] <= 201  # held its ten seconds long ago, and was let go
    assert at_s[100] < 206  # sent on before its hold was over
    world = World(commands={3.0: Command.ABORT})
    assert world.run().phase is Phase.ABORTED
    assert world.steps == [5, 0]


def test_a_step_that_a_person_ended_is_not_said_to_have_passed() -> None:
    world = World(frames=0.0, commands={float(second): Command.PROMOTE for second in range(3, 60)})
    assert world.run().reason == "a person promoted it at 100 %"
    assert not any(line.startswith("passed") for line in world.said)


def test_a_gate_that_fails_in_a_pause_goes_back() -> None:
    world = World(commands={3.0: Command.PAUSE})
    before = world.sleep

    def sleep(seconds: float) -> None:
        before(seconds)
        if world.now_s > 60:
            world.ok_share = 0.0

    world.sleep = sleep  # type: ignore[method-assign]
    assert world.run().phase is Phase.ROLLED_BACK


def test_a_promoted_step_that_fails_goes_back_all_the_same() -> None:
    world = World(ok_share=0.0, commands={float(second): Command.PROMOTE for second in range(5, 60)})
    assert world.run().phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("good", [True, False])
def test_a_controller_killed_at_any_point_ends_as_it_would_have(good: bool) -> None:
    """Between any two effects on the outside, and in the middle of the next controller's work again."""
    share = 1.0 if good else 0.9
    whole = World(ok_share=share, poll_s=2.0)
    end = whole.run()
    assert end.phase is (Phase.PROMOTED if good else Phase.ROLLED_BACK)
    tried = 0
    for kill_at in range(whole.effects):
        world = World(ok_share=share, poll_s=2.0, kill_at=kill_at)
        with pytest.raises(KilledError):
            world.run()
        world.sleep(30.0)  # nobody is there for a while
        world.kill_at = world.effects + 2
        with suppress(KilledError):  # it may have been at its end
            world.run()
        world.kill_at = -1
        state = world.run()
        assert (state.phase, state.step) == (end.phase, end.step), kill_at
        assert world.weight == (100 if good else 0), kill_at
        assert set(world.labelled) == ({100} if good else set()), kill_at
        assert world.steps == sorted(world.steps, key=lambda percent: percent or 1000), (
            kill_at
        )  # never backwards
        tried += 1
    assert tried > 10


def test_a_way_back_that_was_begun_is_finished_whatever_the_numbers_say() -> None:
    world = World(ok_share=0.0)
    state = State(CONFIG.as_json(), "", 0.0, Phase.ROLLING_BACK, 1, "as decided")
    world.saved, world.lost = state, lambda _now_s: True
    state = world.run()
    assert (state.phase, state.reason, world.steps) == (Phase.ROLLED_BACK, "as decided", [0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": ()}, "--steps"),
        ({"steps": (5, 5)}, "--steps"),
        ({"steps": (50, 20)}, "--steps"),
        ({"steps": (5, 101)}, "--steps"),
        ({"steps": (-1, 5)}, "--steps"),
        ({"hold_s": 0.0}, "--hold"),
        ({"hold_s": float("nan")}, "--hold"),
        ({"hold_s": 601.0}, "--hold"),
        ({"steps": (0, 5)}, "at 0 % only agreement"),
    ],
)
def test_wrong_rollouts_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RolloutConfig(GATES, **options)
