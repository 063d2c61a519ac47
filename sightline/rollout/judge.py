"""Whether a step passes, waits or fails, from the counts of its polls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from client.relay.shadow_evidence import WAIT
from client.relay.shadow_gate import Check, judge
from client.relay.shadow_statistics import share_interval
from sightline.rollout.gates import Gates
from sightline.rollout.source import Reading
from sightline.rollout.state import IN_TIME


@dataclass(slots=True)
class Window:
    """What came in since a step began, poll by poll; what a poll brings counts as one cluster of the sample."""

    last: Reading
    _ok: list[int] = field(default_factory=list)
    _requests: list[int] = field(default_factory=list)
    _in_time: list[int] = field(default_factory=list)
    _answers: list[int] = field(default_factory=list)
    _stable_in_time: list[int] = field(default_factory=list)
    _stable_answers: list[int] = field(default_factory=list)

    def add(self, reading: Reading) -> None:
        """The next poll."""
        ok, failed = reading.ok - self.last.ok, reading.failed - self.last.failed
        if ok + failed:
            self._ok.append(ok)
            self._requests.append(ok + failed)
        last, self.last = self.last, reading
        _count(self._in_time, self._answers, last.in_time, reading.in_time, reading.answers - last.answers)
        stable = reading.stable_answers - last.stable_answers
        _count(
            self._stable_in_time, self._stable_answers, last.stable_in_time, reading.stable_in_time, stable
        )

    def in_time(self, gates: Gates, before: float) -> float:
        """The share of its answers that the candidate must give in time: IN_TIME; or, where the stable version's are
        shown to come late, what it gives for sure. `before`: the same of the step before, which holds until this one
        shows either, and where the stable version has no frames.
        """
        if sum(self._stable_answers) < gates.min_requests:
            return before
        hits, of = np.array(self._stable_in_time, float), np.array(self._stable_answers, float)
        share, low, high = share_interval(hits, of, gates.confidence)
        if share >= IN_TIME:
            return IN_TIME
        return round(low, 3) if high < IN_TIME else before

    def checks(self, gates: Gates, weight: int, before: float = IN_TIME) -> list[Check]:
        """Every gate that can be judged at this weight; `before` as in `in_time`."""
        found = []
        if gates.success_ratio is not None:
            found.append(
                _counted(
                    "success_ratio", self._ok, self._requests, gates.success_ratio, gates, "Predicts succeed"
                )
            )
        if gates.age_p99_s is not None and weight > 0:  # a shadow has no age: nobody waits for it
            least = self.in_time(gates, before)
            what = f"answers come within {gates.age_p99_s:g} s"
            if least < IN_TIME:
                what += ", and the stable version's come late too"
            found.append(_counted("age_p99", self._in_time, self._answers, least, gates, what))
        if (
            gates.agreement is not None and weight < 100
        ):  # else no frame is left that the stable version answers
            found += agreement_checks(self.last.agreement or {})
        return found


def _count(in_time: list[int], answers: list[int], before: int, now: int, grown: int) -> None:
    """A poll's answers."""
    if grown > 0:
        # An answer that was counted between two of the poll's questions may miss in one of them.
        in_time.append(max(0, now - before))
        answers.append(max(in_time[-1], grown))


def _counted(name: str, hits: list[int], of: list[int], least: float, gates: Gates, what: str) -> Check:
    total = sum(of)
    if total < gates.min_requests:
        text = f"{name}: {total} of {gates.min_requests} Predicts seen"
        return Check(name, WAIT, text, limit=least)
    interval = share_interval(np.array(hits, float), np.array(of, float), gates.confidence)
    return judge(name, interval, least=least, text=f"{sum(hits)} of {total} {what}")


def agreement_checks(report: Mapping[str, Any]) -> list[Check]:
    """The relay's own verdicts; one that waits where it has none."""
    if not report.get("enabled"):
        return [Check("agreement", WAIT, str(report.get("reason", "the relay has not said anything yet")))]
    found = [Check(**check) for check in report["checks"]]
    if all(check.value is None or check.name == "frames" for check in found):
        return [Check("agreement", WAIT, str(report["reason"]))]
    return found


def undecided(checks: list[Check]) -> bool:
    """Whether what waits has been seen, often enough, and is neither good nor bad."""
    waiting = [check for check in checks if check.verdict == WAIT]
    return bool(waiting) and all(check.value is not None for check in waiting)
