"""Annotated images: for each image file its twin with the detections drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2

from client.choose import Choice
from client.errors import SinkError
from client.sinks.base import Sink
from client.sinks.drawing import drawn
from client.types import Result, Status

JPEG_QUALITY = 92


class AnnotatedImages(Sink[Result]):
    """Writes delivered frames to a folder, under their file's name (as JPEG, or PNG if it was one).

    Two files of one name from different folders become `a.jpg` and `a-2.jpg`. A frame without a file's name is
    `<camera>-<frame id>.jpg`. `classes` (names or ids): only frames on which one of them was found; `every_s`:
    only frames captured so many seconds after the last one that was written. Both are for one camera.

    Raises:
        SinkError: the folder cannot be made, or a file not be written.
        ValueError: a class is empty.
    """

    def __init__(self, folder: Path, classes: Sequence[str] = (), every_s: float = 0.0) -> None:
        self._folder = folder
        self._choice = Choice(classes=classes) if classes else None
        self._every_s, self._last_s = every_s, -math.inf
        self._names: dict[str, str] = {}  # file written -> file it came from
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write to {folder}: {error.strerror}") from None

    @property
    def name(self) -> str:
        return str(self._folder)

    def prepare(self, result: Result) -> Result | None:
        """Delivered frames only, with what was asked for on them."""
        if result.status is not Status.DELIVERED or result.frame.captured_s - self._last_s < self._every_s:
            return None
        if self._choice is not None and not self._choice.apply(result).detections:
            return None
        self._last_s = result.frame.captured_s
        return result

    def put(self, item: Result) -> None:
        """Draw and write one picture."""
        picture = drawn(item)
        if picture is None:
            return
        target = self._target(item)
        done, data = cv2.imencode(target.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise SinkError(f"cannot encode {target}")
        target.write_bytes(data.tobytes())

    def _target(self, result: Result) -> Path:
        """Where this frame's picture goes."""
        frame = result.frame
        source = frame.name or f"{frame.camera_id}-{frame.frame_id:06d}.jpg"
        suffix = ".png" if source.lower().endswith(".png") else ".jpg"
        stem = Path(source).stem
        name, number = stem + suffix, 1
        while self._names.setdefault(name, source) != source:
            number += 1
            name = f"{stem}-{number}{suffix}"
        return self._folder / name
