"""What a run counts for each camera: outcomes, result ages, rates, versions."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from client.grpc_words import unwrapped
from client.types import Result, Status

RECENT_S = 5.0  # the rolling figures are those of so many seconds
MAX_KINDS = 64  # different error texts or versions that are told apart; another end must not fill our memory

Kind = TypeVar("Kind")

_BROKEN_JPEG = "jpeg::Uncompress failed. Invalid JPEG data or crop window."  # TensorFlow's


class AgeHistogram:
    """Result ages in a fixed amount of memory: bins from 0.1 ms to 1000 s, each 2 % wider than the one before.

    A percentile is off by 1 % at most (within those bounds).
    """

    _LEAST_S, _MOST_S, _RATIO = 1e-4, 1e3, 1.02
    _BINS = math.ceil(math.log(_MOST_S / _LEAST_S, _RATIO))

    def __init__(self) -> None:
        self._counts = np.zeros(self._BINS, np.int64)

    def add(self, age_s: float) -> None:
        """Count one age in seconds."""
        where = int(math.log(max(age_s, self._LEAST_S) / self._LEAST_S, self._RATIO))
        self._counts[min(where, self._BINS - 1)] += 1

    def merge(self, other: AgeHistogram) -> None:
        """Add another one's counts."""
        self._counts += other._counts

    def percentile_s(self, percent: float) -> float:
        """The age in seconds that `percent` (0..100) of all ages do not exceed; NaN where there is none."""
        total = int(self._counts.sum())
        if total == 0:
            return math.nan
        rank = max(1, math.ceil(total * percent / 100))
        where = int(np.searchsorted(np.cumsum(self._counts), rank))
        return float(self._LEAST_S * self._RATIO ** (where + 0.5))


@dataclass(slots=True)
class Tally:
    """Figures of one camera, or of several that were merged."""

    delivered: int = 0
    detections: int = 0
    ages: AgeHistogram = field(default_factory=AgeHistogram)
    versions: Counter[tuple[str, int]] = field(default_factory=Counter)  # (model name, version) -> frames
    errors: Counter[str] = field(default_factory=Counter)  # "CODE: message", for people -> frames
    examples: dict[str, str] = field(default_factory=dict)  # error -> the first file that had it
    first_s: float = math.inf  # the first capture, time.monotonic()
    first_delivered_s: float = math.inf
    last_s: float = -math.inf  # the last result
    recent: deque[tuple[float, float]] = field(
        default_factory=lambda: deque(maxlen=4096)
    )  # (when, age) of what was delivered in the last RECENT_S
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: Result) -> None:
        """Count one result as it arrives."""
        now = time.monotonic()
        with self._lock:
            self.first_s = min(self.first_s, result.frame.captured_s)
            self.last_s = now
            if result.status is Status.ERRORED:
                kind = _count(self.errors, plain_error(result.error or "no reason given"), "other errors")
                if result.frame.name:
                    self.examples.setdefault(kind, result.frame.name)
            if result.status is not Status.DELIVERED or result.detections is None:
                return
            self.delivered += 1
            self.first_delivered_s = min(self.first_delivered_s, now)
            self.detections += len(result.detections)
            self.ages.add(result.age_s)
            _count(self.versions, (result.model_name, result.model_version), ("other models", 0))
            self.recent.append((now, result.age_s))
            while now - self.recent[0][0] > RECENT_S:
                self.recent.popleft()

    @classmethod
    def merged(cls, tallies: Iterable[Tally]) -> Tally:
        """The sum of several cameras; `recent` holds all of theirs."""
        total = cls(recent=deque())
        for tally in tallies:
            with tally._lock:
                total.delivered += tally.delivered
                total.detections += tally.detections
                total.ages.merge(tally.ages)
                total.versions.update(tally.versions)
                total.errors.update(tally.errors)
                total.examples = tally.examples | total.examples
                total.first_s = min(total.first_s, tally.first_s)
                total.first_delivered_s = min(total.first_delivered_s, tally.first_delivered_s)
                total.last_s = max(total.last_s, tally.last_s)
                total.recent.extend(tally.recent)
        return total

    @property
    def fps(self) -> float:
        """Delivered frames a second, from the first capture to the last result."""
        seconds = self.last_s - self.first_s
        return self.delivered / seconds if 0 < seconds < math.inf else 0.0

    def recent_figures(self, now: float) -> tuple[float, float, float]:
        """Of the last 5 s: delivered frames a second, median age and 99th percentile in seconds (NaN if none)."""
        with self._lock:
            ages = [age for when, age in self.recent if now - when <= RECENT_S]
        span_s = min(RECENT_S, max(now - self.first_s, 0.1))
        if not ages:
            return 0.0, math.nan, math.nan
        median, high = np.percentile(ages, [50, 99], method="higher")
        return len(ages) / span_s, float(median), float(high)


def plain_error(text: str) -> str:
    """A model's error for people: without TensorFlow's graph nodes and gRPC's wrapping, an assertion's parts as one
    sentence, and in our words where TensorFlow's say little.

    `assertion failed: [expected at most] [50] [pixels]\n\t [[{{node Assert}}]]` -> `expected at most 50 pixels`
    """
    text = text.partition("[[{{")[0].rstrip()
    code, where, reason = unwrapped(text)
    text = f"{code}no connection to {where}: {reason}" if where else text
    before, failed, parts = text.partition("assertion failed: ")
    text = before + parts.strip("[]").replace("] [", " ") if failed else text
    return text.replace(_BROKEN_JPEG, "the JPEG cannot be decoded: it is broken or cut off")


def _count(counter: Counter[Kind], kind: Kind, others: Kind) -> Kind:
    """Count one of a kind, or of `others` once there are too many kinds; returns which."""
    counted = kind if kind in counter or len(counter) < MAX_KINDS else others
    counter[counted] += 1
    return counted
