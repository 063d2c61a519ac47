"""The last minute of a camera, or of all of them, second by second."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

HISTORY_S = 60
RATE_S = 5  # rates are those of so many full seconds


@dataclass(slots=True)
class Second:
    """What was settled within one second of the loop's time. Ages in ms, of delivered results."""

    number: int
    delivered: int = 0
    errored: int = 0
    age_sum_ms: float = 0.0
    age_max_ms: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def count_delivered(self, version: str, age_ms: float) -> None:
        """A delivered frame."""
        self.delivered += 1
        self.age_sum_ms += age_ms
        self.age_max_ms = max(self.age_max_ms, age_ms)
        self.versions[version] = self.versions.get(version, 0) + 1


class History:
    """The last minute, second by second; seconds in which nothing happened take no memory."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque(maxlen=HISTORY_S)

    def at(self, now_s: float) -> Second:
        """The second to count in."""
        number = int(now_s)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(Second(number))
        return self._seconds[-1]

    def summary(self, now_s: float) -> dict[str, Any]:
        """The rate, and sums over the last minute, in words that JSON knows."""
        now = int(now_s)
        recent = [second for second in self._seconds if second.number > now - HISTORY_S]
        rated = [second for second in recent if now - RATE_S <= second.number < now]
        delivered = sum(second.delivered for second in rated)
        age_ms = sum(second.age_sum_ms for second in rated) / delivered if delivered else None
        return {
            "fps": round(delivered / RATE_S, 1),
            "age_ms": age_ms if age_ms is None else round(age_ms, 1),
            "delivered": sum(second.delivered for second in recent),
            "errored": sum(second.errored for second in recent),
            "dropped": _sum(second.dropped for second in recent),
            "versions": _sum(second.versions for second in recent),
        }

    def ages_ms(self, now_s: float) -> list[list[float] | None]:
        """Mean and greatest age of each full second, the oldest first; None where nothing was delivered."""
        now = int(now_s)
        ages: list[list[float] | None] = [None] * HISTORY_S
        for second in self._seconds:
            where = second.number - now + HISTORY_S
            if 0 <= where < HISTORY_S and second.delivered:
                mean_ms = second.age_sum_ms / second.delivered
                ages[where] = [round(mean_ms, 1), round(second.age_max_ms, 1)]
        return ages


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())
