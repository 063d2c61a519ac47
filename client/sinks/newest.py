"""The newest annotated frame of a camera, as one picture that is replaced about once a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2

from client.annotate import annotate
from client.errors import SinkError
from client.sinks.base import Sink
from client.sources.images import decode
from client.types import Result, Status

EVERY_S = 1.0


class NewestImage(Sink[Result]):
    """Keeps `path` (a .jpg) the newest annotated frame. Whoever opens it sees a whole picture.

    Raises:
        SinkError: the folder cannot be made, or the file not be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_s = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write to {path.parent}: {error.strerror}") from None

    @property
    def name(self) -> str:
        return str(self._path)

    def prepare(self, result: Result) -> Result | None:
        """A delivered frame, if the last one is old enough."""
        now_s = time.monotonic()
        if result.status is not Status.DELIVERED or now_s < self._next_s:
            return None
        self._next_s = now_s + EVERY_S
        return result

    def put(self, item: Result) -> None:
        """Draw the picture and put it in the old one's place."""
        assert item.detections is not None
        picture = item.frame.image_bgr
        if picture is None:
            picture = decode(item.frame.jpeg or b"", turn=False)
        if picture is None:
            return
        partial = self._path.with_suffix(".part.jpg")
        if not cv2.imwrite(str(partial), annotate(picture, item.detections)):
            raise SinkError(f"cannot write {partial}")
        os.replace(partial, self._path)
