"""The controller: a step, its judgement, the next step, or back to 0 at once.

What it decides is on the disk before it is done, so a controller that is killed at any point goes on where it was, or
finishes the way back. It never moves on numbers that it does not have: a source that is lost holds the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from client.relay.shadow_evidence import FAIL, PASS
from client.relay.shadow_gate import Check, verdict_of
from sightline.rollout.config import PATIENCE, RolloutConfig
from sightline.rollout.judge import Window, undecided
from sightline.rollout.source import Reading, Source, SourceLost
from sightline.rollout.state import Command, Phase, State, Store

POLL_S = 0.5
TAKEN_S = 5.0  # the mesh takes a changed weight over in about 0.3 s


class Weights(Protocol):
    """What moves the frames."""

    def set_weight(self, to: str, percent: int) -> None:
        """The candidate's share from now on."""


@dataclass(frozen=True)
class Clock:
    """Time, which a simulation makes itself."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    poll_s: float = POLL_S


@dataclass
class _Step:
    """What a controller knows of the present step."""

    weight: int
    window: Window | None = None
    began_s: float = 0.0  # of the window
    asked_s: float | None = None  # when the mesh was last told this weight
    skip: bool = False
    lost: str = ""
    verdict: str = ""
    checks: list[Check] = field(default_factory=list)


class Controller:
    """Runs one rollout to its end. `say` gets a line for each event. `at_promotion` is called before the rollout counts
    as promoted, and again if the controller is killed in between."""

    def __init__(
        self,
        config: RolloutConfig,
        state: State,
        parts: tuple[Weights, Source, Store],
        say: Callable[[str], None],
        clock: Clock | None = None,
        at_promotion: Callable[[State], None] = lambda _state: None,
    ) -> None:
        self._config, self._state, self._say = config, state, say
        self._weights, self._source, self._store = parts
        self._clock, self._at_promotion = clock or Clock(), at_promotion
        self._began_s = self._clock.now()

    def run(self) -> State:
        """To the end. Raises ValueError for gates that this relay cannot judge."""
        state = self._state
        if state.phase is Phase.ROLLING_BACK:
            self._back(Phase.ROLLED_BACK, state.reason)
        while not state.phase.over:
            weight = self._config.steps[state.step]
            self._store.save(state)
            self._say(f"step      {weight} % to {self._config.to}")
            step = _Step(weight)
            back = self._run(step)
            if step.window is not None:
                state.in_time = step.window.in_time(self._config.gates, state.in_time)
                state.version = step.window.last.version
            if back is not None:
                self._back(*back)
            elif state.step + 1 < len(self._config.steps):
                state.step += 1
            else:
                self._at_promotion(state)
                passed = step.verdict == PASS
                state.reason = (
                    f"every gate passed at {weight} %" if passed else f"a person promoted it at {weight} %"
                )
                state.phase = Phase.PROMOTED
                self._store.save(state)
        self._say(f"{state.phase:<9} {state.reason}")
        return state

    def _run(self, step: _Step) -> tuple[Phase, str] | None:
        """One step, until it passes (None) or fails (how it ends, and why)."""
        while True:
            if (back := self._obey(step)) is not None:
                return back
            reading = self._read(step)
            if reading is not None and self._in_force(step, reading):
                checks = self._judged(step, reading)
                verdict = step.verdict = verdict_of(checks) if checks else PASS
                held_s = self._clock.now() - step.began_s
                self._record(step, reading, verdict, held_s)
                if verdict == FAIL:
                    return Phase.ROLLED_BACK, "; ".join(c.text for c in checks if c.verdict == FAIL)
                if self._state.phase is not Phase.PAUSED:
                    if step.skip or (verdict == PASS and held_s >= self._config.hold_s):
                        how = "let go   " if verdict != PASS else "passed   "
                        self._say(f"{how} {step.weight} %: " + "; ".join(_short(c) for c in checks))
                        return None
                    if undecided(checks) and held_s >= PATIENCE * self._config.hold_s:
                        waiting = "; ".join(c.text for c in checks if c.verdict != PASS)
                        return Phase.ROLLED_BACK, f"not shown to be good within {held_s:.0f} s: {waiting}"
            self._clock.sleep(self._clock.poll_s)

    def _obey(self, step: _Step) -> tuple[Phase, str] | None:
        match self._store.command():
            case Command.ABORT:
                return Phase.ABORTED, "a person aborted it"
            case Command.PAUSE if self._state.phase is Phase.RUNNING:
                self._go_on(Phase.PAUSED, f"paused    at {step.weight} %; promote goes on, abort goes back")
            case Command.PROMOTE if self._state.phase is Phase.PAUSED:
                self._go_on(Phase.RUNNING, "resumed")
            case Command.PROMOTE:
                step.skip = True
        return None

    def _go_on(self, phase: Phase, text: str) -> None:
        self._state.phase = phase
        self._store.save(self._state)
        self._say(text)

    def _read(self, step: _Step) -> Reading | None:
        """The counts; None while they cannot be had, and then the step begins anew."""
        try:
            reading = self._source.read(self._clock.now() - step.began_s if step.window else 0.0)
        except SourceLost as lost:
            if str(lost) != step.lost:
                self._say(f"holds     {lost}")
            step.lost, step.window = str(lost), None
            return None
        if step.lost:
            self._say("goes on   the numbers are back")
            step.lost = ""
        return reading

    def _in_force(self, step: _Step, reading: Reading) -> bool:
        """Whether the mesh splits as this step says; tells it if not."""
        now_s = self._clock.now()
        # Told once at least: the weight may be what it was, but the shadow goes to this candidate from now on.
        if reading.weight == step.weight and step.asked_s is not None:
            return True
        if step.asked_s is None or now_s - step.asked_s > TAKEN_S:
            if step.asked_s is not None:
                self._say(f"holds     the mesh has {reading.weight} % instead of {step.weight} %")
            self._weights.set_weight(self._config.to, step.weight)
            step.asked_s = now_s
        step.window = None
        return False

    def _judged(self, step: _Step, reading: Reading) -> list[Check]:
        if step.window is None or not step.window.last.before(
            reading
        ):  # a part was started again: count anew
            step.window, step.began_s = Window(reading), self._clock.now()
        else:
            step.window.add(reading)
        step.checks = step.window.checks(self._config.gates, step.weight, self._state.in_time)
        return step.checks

    def _back(self, phase: Phase, reason: str) -> None:
        """The weight is 0 before anything else happens."""
        self._state.phase, self._state.reason = Phase.ROLLING_BACK, reason
        self._store.save(self._state)
        self._weights.set_weight(self._config.to, 0)
        self._state.phase = phase
        self._store.save(self._state)

    def _record(self, step: _Step, reading: Reading, verdict: str, held_s: float) -> None:
        counts: dict[str, Any] = {"frames": reading.frames, "delivered": reading.delivered}
        self._store.record(
            {
                "at_s": round(self._clock.now() - self._began_s, 2),
                "step": self._state.step,
                "weight": step.weight,
                "held_s": round(held_s, 2),
                "verdict": verdict,
                "candidate": f"v{reading.version}",
                "checks": [asdict(check) for check in step.checks],
                **counts,
                "agreement": _without(reading.agreement, "checks"),
            }
        )


def _short(check: Check) -> str:
    return f"{check.name} {check.value:.3g}" if check.value is not None else check.name


def _without(report: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
    return None if report is None else {name: value for name, value in report.items() if name != key}
