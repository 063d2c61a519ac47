"""Lines that objects cross and zones that they are in, counted. Needs the extra `track`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import supervision as sv

from client.sinks.base import Sink
from client.sinks.jsonl import append_to, rfc3339, to_json, write_through
from client.track import CANVAS_PX, on_canvas
from client.types import Result, Status

Points = tuple[tuple[float, float], ...]  # x, y in 0..1 of the frame
FRAMES_BEYOND = 2  # an object counts as across once it was seen there twice: a box that trembles counts once
# A line remembers where so many objects were, those that were seen last. A tracker keeps fewer in the second in which
# it looks for what it misses, and gives no number twice.
KEPT_TRACKS = 1000


class Counts(Sink[Result]):
    """Counts of one camera, by name of line or zone, from tracked results (client.track).

    A line is two points; an object is where the middle of its box's lower edge is. It goes `in` when it comes from
    the right of the way from the first point to the second, seen in the picture, to its left, and `out` the other
    way. A zone is a polygon of three points or more. `path`: a file to which each change is appended as a line of
    JSON: `camera`, `frame_id`, `capture_time`, then `line`, `in`, `out` (so far, by label), or `zone`, `inside`
    (now, by label).

    Raises:
        SinkError: the file cannot be opened.
    """

    def __init__(
        self, camera_id: str, lines: Mapping[str, Points], zones: Mapping[str, Points], path: str = ""
    ) -> None:
        self.camera_id = camera_id
        self._lines = {name: _line(points) for name, points in lines.items()}
        self._zones = {name: _zone(points) for name, points in zones.items()}
        self.crossed: dict[str, tuple[Counter[str], Counter[str]]] = {
            name: (Counter(), Counter()) for name in lines
        }
        self.inside: dict[str, Counter[str]] = {name: Counter() for name in zones}
        self._file = append_to(path) if path else None

    @property
    def name(self) -> str:
        return f"lines and zones of {self.camera_id}"

    def prepare(self, result: Result) -> Result | None:
        """Delivered results, without their pictures."""
        if result.status is not Status.DELIVERED:
            return None
        return replace(result, frame=replace(result.frame, image_bgr=None, jpeg=None))

    def put(self, item: Result) -> None:
        """Count, and write what changed."""
        found = item.detections
        assert found is not None
        labels = np.array(found.labels, object)
        track_ids = np.full(len(found), -1) if found.track_ids is None else found.track_ids
        seen = sv.Detections(on_canvas(found), tracker_id=track_ids, class_id=found.class_ids)
        for name, line in self._lines.items():
            moved = [Counter(labels[crossed]) for crossed in line.trigger(seen)]
            for total, now in zip(self.crossed[name], moved, strict=True):
                total.update(now)
            if any(moved):
                into, out = self.crossed[name]
                self._write(item, {"line": name, "in": dict(into), "out": dict(out)})
        for name, zone in self._zones.items():
            inside = Counter(labels[zone.trigger(seen)])
            if inside != self.inside[name]:
                self.inside[name] = inside
                self._write(item, {"zone": name, "inside": dict(inside)})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def texts(self) -> list[str]:
        """The counts so far for people: `gate: 12 in (9 person, 3 dog), 0 out`, `yard: 1 inside (1 car)`."""
        lines = [f"{n}: {_text(into, 'in')}, {_text(out, 'out')}" for n, (into, out) in self.crossed.items()]
        return lines + [f"{name}: {_text(inside, 'inside')}" for name, inside in self.inside.items()]

    def _write(self, result: Result, change: dict[str, Any]) -> None:
        if self._file is not None:
            frame = result.frame
            when = rfc3339(frame.captured_unix_ns)
            row = {"camera": frame.camera_id, "frame_id": frame.frame_id, "capture_time": when, **change}
            write_through(self._file, to_json(row) + b"\n")


class _Line(sv.LineZone):
    """A line that knows an object again as long as its tracker does. The library's forgets it after 3 frames."""

    def _evict_stale_crossing_history(self, current_keys: set[int]) -> None:
        history = self.crossing_state_history
        for key in current_keys & history.keys():
            history[key] = history.pop(key)  # to the end: the first is who was not seen for longest
        for key in list(history)[:-KEPT_TRACKS]:
            del history[key]
            self._confirmed_crossing_side.pop(key, None)


def _line(points: Points) -> _Line:
    start, end = (sv.Point(x * CANVAS_PX, y * CANVAS_PX) for x, y in points)
    return _Line(start, end, [sv.Position.BOTTOM_CENTER], FRAMES_BEYOND)


def _zone(points: Points) -> sv.PolygonZone:
    polygon = np.round(np.array(points) * CANVAS_PX).astype(np.int64)
    return sv.PolygonZone(polygon, [sv.Position.BOTTOM_CENTER])


def _text(counts: Counter[str], where: str) -> str:
    parts = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    return f"{counts.total()} {where}" + (f" ({parts})" if parts else "")
