"""How many users there are at each moment of a run, and when that changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.profile import Stage


@dataclass
class Plateau:
    """A span of time with a steady number of users; unix seconds. `end_s` is 0 while it lasts."""

    users: int
    begin_s: float
    end_s: float = 0.0
    name: str = ""


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
        self.plateaus.append(Plateau(stage.users, now, name=stage.name))
        return stage.users
