"""What the comparisons of the last minutes say, second by second."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.relay.shadow_compare import Difference

PASS, WAIT, FAIL = "pass", "wait", "fail"  # what a gate says
KEPT_S = 1800  # the longest step that a gate can look back on


@dataclass(slots=True)
class Block:
    """The frames compared within one second: they show the same objects, so they count as one draw.

    `log_latency`: the sum of ln(candidate's Predict / stable's Predict).
    """

    number: int
    difference: Difference
    frames: int = 0
    log_latency: float = 0.0


@dataclass(slots=True)
class Evidence:
    """Comparisons of one pair of versions; another pair begins anew."""

    versions: tuple[int, int] | None = None  # stable's and the candidate's
    _blocks: deque[Block] = field(default_factory=lambda: deque(maxlen=KEPT_S))

    def add(
        self, now_s: float, versions: tuple[int, int], found: Difference, stable_s: float, candidate_s: float
    ) -> None:
        """One frame, and how long the two Predicts took."""
        if versions != self.versions:
            self.versions = versions
            self._blocks.clear()
        number = int(now_s)
        if not self._blocks or self._blocks[-1].number != number:
            self._blocks.append(Block(number, type(found)()))
        block = self._blocks[-1]
        block.difference.add(found)
        block.frames += 1
        block.log_latency += math.log(max(candidate_s, 1e-6) / max(stable_s, 1e-6))

    def blocks(self, now_s: float, window_s: float) -> list[Block]:
        """Those of the last `window_s` seconds, the oldest first."""
        return [block for block in self._blocks if block.number >= now_s - window_s]


def window(text: str) -> float:
    """The seconds to look back on. Raises ValueError."""
    try:
        window_s = float(text)
    except ValueError:
        window_s = 0.0
    if not 0 < window_s <= KEPT_S:
        raise ValueError(f"window_s: expected more than 0, to {KEPT_S}, got {text!r}")
    return window_s
