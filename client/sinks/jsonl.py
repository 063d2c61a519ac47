"""JSON Lines: one line per frame.

| field | meaning |
|---|---|
| `camera`, `frame_id` | which frame; ids rise within a camera |
| `capture_time`, `capture_time_unix_ns` | RFC 3339 in UTC, and nanoseconds since 1970, by the camera's clock |
| `status` | `delivered`, `errored` or `dropped` |
| `age_ms` | from capture until the result was here |
| `width`, `height` | the frame's size in pixels, where it is known |
| `file` | the file the frame came from, where there is one |
| `model`, `version` | delivered: what served it |
| `detections` | delivered: a list by falling score, each with `label`, `class_id`, `score` (0..1), `box` (x0, y0, x1, y1 in pixels; only where the size is known), `box_normalized` (x0, y0, x1, y1 in 0..1) and, if tracked, `track_id` |
| `reason` | dropped: why |
| `error` | errored: a gRPC status code's name and a message |
| `stages_ms` | the parts of the age |
"""  # noqa: E501

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from client.errors import SinkError
from client.sinks.base import Sink
from client.sources.header import read_header
from client.types import Detections, Frame, Result, Status


class JsonLines(Sink[bytes]):
    """Appends to a file (`-`: standard output), each line in one write: a kill loses at most the one under way.

    Raises:
        SinkError: the file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._file = sys.stdout.buffer if self._path == "-" else append_to(path)

    @property
    def name(self) -> str:
        return "standard output" if self._path == "-" else self._path

    def prepare(self, result: Result) -> bytes:
        """The line, with its line feed."""
        return to_json(as_dict(result)) + b"\n"

    def put(self, item: bytes) -> None:
        """Write a line through to the operating system."""
        write_through(self._file, item)

    def close(self) -> None:
        if self._path != "-":
            self._file.close()


def as_dict(result: Result) -> dict[str, Any]:
    """A result as its JSON object; the table above names the fields."""
    frame = result.frame
    row: dict[str, Any] = {
        "camera": frame.camera_id,
        "frame_id": frame.frame_id,
        "capture_time": rfc3339(frame.captured_unix_ns),
        "capture_time_unix_ns": frame.captured_unix_ns,
        "status": str(result.status),
        "age_ms": round(result.age_s * 1e3, 3),
    }
    size_wh = frame_size(frame)
    if size_wh is not None:
        row |= {"width": size_wh[0], "height": size_wh[1]}
    if frame.name:
        row["file"] = frame.name
    if result.status is Status.DELIVERED and result.detections is not None:
        row |= {"model": result.model_name, "version": result.model_version}
        row["detections"] = detection_rows(result.detections, size_wh)
    elif result.status is Status.DROPPED:
        row["reason"] = str(result.reason)
    else:
        row["error"] = result.error
    row["stages_ms"] = {name: round(value, 3) for name, value in result.stages_ms.items()}
    return row


def frame_size(frame: Frame) -> tuple[int, int] | None:
    """Width and height of a frame in pixels; None where it holds no picture, or a broken one."""
    if frame.image_bgr is not None:
        return frame.image_bgr.shape[1], frame.image_bgr.shape[0]
    header = read_header(frame.jpeg) if frame.jpeg is not None else None
    return header.size_wh if header is not None else None


def rfc3339(unix_ns: int) -> str:
    """A time in UTC, to the microsecond: 2026-01-31T12:00:00.000000Z."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"


def detection_rows(detections: Detections, size_wh: tuple[int, int] | None) -> list[dict[str, Any]]:
    """The field `detections` of the table above."""
    # JSON knows no NaN and no infinity; boxes lie in 0..1 by contract.
    boxes = np.clip(np.nan_to_num(detections.boxes.reshape(-1, 4)[:, [1, 0, 3, 2]]), 0.0, 1.0)
    scores = np.nan_to_num(detections.scores)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(detections.labels):
        row = {"label": label, "class_id": int(detections.class_ids[i]), "score": round(float(scores[i]), 4)}
        if size_wh is not None:
            row["box"] = [round(float(v) * s, 2) for v, s in zip(boxes[i], size_wh * 2, strict=True)]
        row["box_normalized"] = [round(float(v), 6) for v in boxes[i]]
        if detections.track_ids is not None and detections.track_ids[i] > 0:
            row["track_id"] = int(detections.track_ids[i])
        rows.append(row)
    return rows


def to_json(row: dict[str, Any]) -> bytes:
    """An object as JSON, in one line without its line feed."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")


def append_to(path: str | Path) -> BinaryIO:
    """A file of lines, opened to append whole lines; one that a kill cut off is ended first.

    Raises:
        SinkError: it cannot be opened.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = Path(path).open("a+b", buffering=0)  # noqa: SIM115  the caller closes it
        if _ends_within_a_line(file):
            file.write(b"\n")
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror}") from None
    return file


def write_through(file: BinaryIO, line: bytes) -> None:
    """Hand a line to the operating system, whole."""
    view = memoryview(line)
    while len(view):
        view = view[file.write(view) :]
    file.flush()


def _ends_within_a_line(file: BinaryIO) -> bool:
    """Whether the last run was killed while it wrote a line."""
    if not file.seekable() or file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
