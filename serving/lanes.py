"""Which session a call runs on, and when: threads by load."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from serving.errors import Code, ServingError

CPUS = len(os.sched_getaffinity(0))
Lane = Literal["wide", "narrow"]
"""wide: every core inside an op. narrow: one thread inside an op."""


class Lanes:
    """Chooses wide or narrow for each call; at most `cores` calls run at once, in order of arrival."""

    def __init__(self, cores: int = CPUS) -> None:
        self._cores = cores
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def enter(self, deadline: float | None) -> Iterator[Lane]:
        """Wait for a turn until `deadline` (time.monotonic() seconds) and yield the lane to run on."""
        with self._lock:
            lane: Lane = "wide" if self._running == 0 and not self._waiting else "narrow"
            turn = None
            if self._running >= self._cores or self._waiting:
                turn = threading.Event()
                self._waiting.append(turn)
            else:
                self._running += 1
        if turn is not None:
            self._wait(turn, deadline)
        try:
            yield lane
        finally:
            self._leave()

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

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # hands over our place: _running stays
            else:
                self._running -= 1
