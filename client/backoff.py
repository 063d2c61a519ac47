"""How long to wait between attempts."""

from __future__ import annotations

import random


class Backoff:
    """Capped exponential backoff with jitter: each pause is drawn from the upper half of min × 2^n, at most max.

    The jitter keeps a hundred cameras from knocking at a relay that comes back all at the same instant.
    """

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s, self._max_s = min_s, max_s
        self._now_s = min_s

    def next_s(self) -> float:
        """The next pause in seconds."""
        pause_s, self._now_s = self._now_s, min(self._now_s * 2, self._max_s)
        return pause_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Something worked: start from the shortest pause again."""
        self._now_s = self._min_s
