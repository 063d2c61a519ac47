"""The worst disagreements, kept as pictures for people to look at: few, bounded, and only where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from client.relay.shadow_compare import Difference
from client.wire import relay_pb2 as pb

MAX_BYTES = 32 << 20  # of all kept pictures
APART_S = 10.0  # of one camera's pictures only the worst in so long: a scene is shown once


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture, and what the two models see in it."""

    number: int
    kept_s: float
    camera_id: str
    image: bytes
    stable: pb.Detections
    candidate: pb.Detections
    difference: Difference


class Pairs:
    """The pictures with the least agreement."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pairs: list[Pair] = []  # the worst first
        self._numbers = count(1)

    def offer(
        self,
        now_s: float,
        camera_id: str,
        image: bytes,
        found: tuple[pb.Detections, pb.Detections],
        difference: Difference,
    ) -> None:
        """Keep a picture if it is among the worst."""
        if not self._limit or _badness(difference) <= 0:
            return
        rival = next(
            (p for p in self._pairs if p.camera_id == camera_id and now_s - p.kept_s < APART_S), None
        )
        if rival is not None:
            if _badness(rival.difference) >= _badness(difference):
                return
            self._pairs.remove(rival)
        self._pairs.append(Pair(next(self._numbers), now_s, camera_id, image, *found, difference))
        self._pairs.sort(key=lambda pair: -_badness(pair.difference))
        while len(self._pairs) > self._limit or sum(len(pair.image) for pair in self._pairs) > MAX_BYTES:
            self._pairs.pop()

    def clear(self) -> None:
        """Forget them; numbers are not given again."""
        self._pairs.clear()

    def all(self) -> list[Pair]:
        """The worst first."""
        return list(self._pairs)

    def get(self, number: int) -> Pair | None:
        """One of them, if it is still kept."""
        return next((pair for pair in self._pairs if pair.number == number), None)


def _badness(difference: Difference) -> float:
    """How much two pictures differ: the objects without a partner, the flips, and what boxes and scores are off."""
    wrong = difference.flips.total() + difference.missed.total() + difference.extra.total()
    return wrong + (difference.pairs - difference.iou) + abs(difference.drift)
