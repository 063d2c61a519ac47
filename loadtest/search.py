"""How many users hold under a profile's goals: found by trying, more and more, then in between."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from loadtest.goals import window_value
from loadtest.plan import Search
from loadtest.profile import Profile
from loadtest.record import DELIVERED, Store, Window
from loadtest.results import point_window
from loadtest.shape import TAIL_S, Plateau, settling_s
from loadtest.trust import short_percent

FINE = 0.05  # the answer is that near to the least number that failed, or one user
LATE_S = 2.0  # answers to the last frames of a trial, and the workers' reports
CLEAR_PERCENT = 90.0  # less was delivered: a trial that failed so clearly is not repeated
CONFIRM = 2.0  # the answer is tried again for so many times as long


def trials(most: int) -> Generator[tuple[int, float], tuple[bool, bool], int]:
    """Yields (users, how many times as long as usual); is sent (it held, the failure was clear); returns the answer.

    A trial that fails, but not clearly, gets a second chance: a shared machine has bad moments. What is found at last
    has to hold once more, for longer.
    """
    held, failed, confirmed = 0, 0, -1

    def attempt(users: int, times: float = 1.0) -> Generator[tuple[int, float], tuple[bool, bool], bool]:
        ok, clear = yield users, times
        if not ok and not clear:
            ok, _ = yield users, times
        return ok

    while not failed and held < most:
        users = min(most, max(1, 2 * held))
        if (yield from attempt(users)):
            held = users
        else:
            failed = users
    while confirmed != held:
        while failed and failed - held > max(1, FINE * held):
            users = (held + failed) // 2
            if (yield from attempt(users)):
                held = users
            else:
                failed = users
        if not held or (yield from attempt(held, CONFIRM)):
            confirmed = held
        else:
            held, failed = held // 2, held
    return held


class SearchClock:
    """The trials in time, to be asked like a StageClock."""

    def __init__(self, search: Search, profile: Profile, store: Store) -> None:
        self._search, self._profile, self._store = search, profile, store
        self._trials = trials(search.most)
        self.plateaus: list[Plateau] = []
        self.answer: int | None = None
        self._due_s = 0.0

    def users(self) -> int | None:
        """How many users there shall be now; None: the answer is found."""
        now = time.time()
        if not self.plateaus:
            return self._begin(next(self._trials))
        last = self.plateaus[-1]
        if not last.end_s and now >= self._due_s:
            last.end_s = now
        if not last.end_s or now < last.end_s + LATE_S:
            return last.users
        try:
            return self._begin(self._trials.send(self._judge(last)))
        except StopIteration as done:
            self.answer = done.value
            return None

    def _begin(self, trial: tuple[int, float]) -> int:
        users, times = trial
        now, before = time.time(), self.plateaus[-1].users if self.plateaus else 0
        settle_s = settling_s(users, before, self._search.settle_s)
        self._due_s = now + settle_s + times * self._search.measure_s + TAIL_S
        self.plateaus.append(Plateau(users, now, settle_s=settle_s))
        return users

    def _judge(self, trial: Plateau) -> tuple[bool, bool]:
        """A trial in which the generator offered less than it should has not held, and is repeated."""
        window = point_window(self._store, trial)
        short = short_percent(self._profile, trial, window) is not None
        trial.held = not short and holds(window, self._profile)
        return trial.held, not short and not 100 * window.share(DELIVERED) >= CLEAR_PERCENT

    def found(self) -> dict[str, Any]:
        """The answer for the report; `users` is None if the search was stopped."""
        return {
            "users": self.answer,
            "most": self._search.most,
            "goals": [str(goal) for goal in self._profile.slo],
        }


def holds(window: Window, profile: Profile) -> bool:
    """Whether what was due in a window meets all goals; False where nothing was."""
    return bool(window.offered) and all(goal.allows(window_value(window, goal)) for goal in profile.slo)
