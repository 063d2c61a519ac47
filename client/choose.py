"""Which detections of a result are kept: by score and by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from client.types import Detections, Result

MAX_LABELS = 1000  # labels remembered for the hint about names that never came


class Choice:
    """Keeps detections with a score of `conf` (0..1) or more and, unless `classes` is empty, one of those classes.

    A class is an id (`0`) or a name (`person`, in any case). The model already left out what lies below the
    threshold of its export (0.25 unless chosen otherwise), so a lower `conf` brings nothing back.

    Raises:
        ValueError: `conf` is out of range, or a class is empty.
    """

    def __init__(self, conf: float = 0.0, classes: Sequence[str] = ()) -> None:
        if not 0.0 <= conf <= 1.0:
            raise ValueError(f"conf: expected 0 to 1, got {conf:g}")
        names = [name.strip() for name in classes]
        if not all(names):
            raise ValueError("classes: expected ids or names such as 0 or person, got an empty one")
        self._conf = conf
        self._ids = {int(name) for name in names if name.isascii() and name.isdigit()}
        self._names = {name.casefold() for name in names if not (name.isascii() and name.isdigit())}
        self._seen: set[str] = set()

    def apply(self, result: Result) -> Result:
        """The result with what is kept of its detections, in their order."""
        found = result.detections
        if found is None or not len(found):
            return result
        keep = found.scores >= self._conf
        if self._ids or self._names:
            if len(self._seen) < MAX_LABELS:
                self._seen.update(found.labels)
            wanted = [
                int(class_id) in self._ids or label.casefold() in self._names
                for class_id, label in zip(found.class_ids, found.labels, strict=True)
            ]
            keep = keep & np.array(wanted, np.bool_)
        return result if keep.all() else replace(result, detections=_select(found, keep))

    def unmatched(self) -> tuple[list[str], list[str]]:
        """Names asked for that no detection had, and the labels that there were; both empty if all came."""
        labels = {label.casefold() for label in self._seen}
        missing = sorted(self._names - labels)
        return (missing, sorted(self._seen)) if missing and labels else ([], [])


def _select(found: Detections, keep: np.typing.NDArray[np.bool_]) -> Detections:
    labels = tuple(label for label, kept in zip(found.labels, keep, strict=True) if kept)
    track_ids = None if found.track_ids is None else found.track_ids[keep]
    return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep], labels, track_ids)
