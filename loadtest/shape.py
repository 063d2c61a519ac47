"""How many users there are at each moment of a run, and when that changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.profile import Stage

SPAWN_RATE = 100.0  # users a second: cameras do not come one by one after a power cut; Locust warns of more
SETTLE_S = 1.0  # users connect, the frames of the plateau before come to an end
TAIL_S = 0.5  # before the users' end: Locust's work for that delays the last results


@dataclass
class Plateau:
    """A span of time with a steady number of users; unix seconds. `end_s` is 0 while it lasts.

    `settle_s`: from its begin until all users are there. `held`: whether a search's goals held in it.
    """

    users: int
    begin_s: float
    end_s: float = 0.0
    name: str = ""
    settle_s: float = SETTLE_S
    held: bool | None = None

    @property
    def steady_s(self) -> tuple[float, float]:
        """From when until when its users can be measured."""
        return self.begin_s + self.settle_s, self.end_s - TAIL_S


def settling_s(users: int, before: int, settle_s: float = SETTLE_S) -> float:
    """How long it takes until there are `users` after `before`, and all is steady."""
    return settle_s + max(0, users - before) / SPAWN_RATE


@dataclass
class StageClock:
    """Follows a profile's stages. Locust asks about once a second and spawns meanwhile, so it keeps what really was."""

    stages: Sequence[Stage]
    plateaus: list[Plateau] = field(default_factory=list)
    _next: int = 0
    _due_s: float = 0.0

    def users(self) -> int | None:
        """How many users there shall be now; None: the run is over."""
        now = time.time()
        if self.plateaus and now < self._due_s:
            return self.plateaus[-1].users
        if self.plateaus:
            self.plateaus[-1].end_s = now
        if self._next == len(self.stages):
            return None
        stage = self.stages[self._next]
        self._next += 1
        self._due_s = (self._due_s or now) + stage.for_s
        before = self.plateaus[-1].users if self.plateaus else 0
        self.plateaus.append(
            Plateau(stage.users, now, name=stage.name, settle_s=settling_s(stage.users, before))
        )
        return stage.users
