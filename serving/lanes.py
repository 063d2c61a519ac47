"""Which session a call runs on, and when: threads by load."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Literal

from serving.errors import Code, ServingError

CPUS = len(os.sched_getaffinity(0))
Lane = Literal["wide", "narrow"]
"""wide: every core inside an op. narrow: one thread inside an op."""


PLACES = CPUS + 1  # the core of a call that has ended has work while the next one's Python gets ready
LATELY_S = 1.0  # who calls less often than that need not be waited for
PAUSE_S = 0.3  # nor does a load wait for longer
_last_end_s = 0.0  # of the last call of any model


def wait_for_a_pause() -> None:
    """Return when a call has just ended: its caller's next one is furthest away. At once where none came lately."""
    before, end = _last_end_s, time.monotonic() + PAUSE_S
    while _last_end_s == before and (now := time.monotonic()) < end and now - before < LATELY_S:
        time.sleep(0.001)


class Lanes:
    """Chooses wide or narrow for each call; at most `places` calls run at once, in order of arrival."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[threading.Event] = deque()

    def enter(self, deadline: float | None) -> Lane:
        """Wait for a turn until `deadline` (time.monotonic() seconds); the lane to run on. `leave` must follow.

        Raises ServingError when the deadline passes first.
        """
        with self._lock:
            if self._running < self._places and not self._waiting:
                self._running += 1
                return "wide" if self._running == 1 else "narrow"
            turn = threading.Event()
            self._waiting.append(turn)
        self._wait(turn, deadline)
        return "narrow"

    def leave(self) -> None:
        """The call that entered has ended: its place goes to the one that waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # hands over our place: _running stays
            else:
                self._running -= 1
        global _last_end_s
        _last_end_s = time.monotonic()

    def _wait(self, turn: threading.Event, deadline: float | None) -> None:
        """Return when `turn` is set; raises ServingError when the deadline passes first."""
        if turn.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
            return
        with self._lock:
            if turn not in self._waiting:
                return  # it was granted while we gave up: take it
            self._waiting.remove(turn)
        raise ServingError(
            Code.DEADLINE_EXCEEDED, "Deadline passed while the request waited for a free core."
        )
