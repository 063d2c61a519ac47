"""Annotated images: for each image file its twin with the detections drawn in."""

from __future__ import annotations

import math
import struct
import threading
import zlib
from pathlib import Path
from typing import ClassVar

import cv2

from client.choose import Choice
from client.errors import SinkError
from client.sinks.base import Sink
from client.sinks.drawing import drawn, file_stem
from client.types import Result, Status

JPEG_QUALITY = 92
MARK = b"Annotated by Sightline"  # in a comment at the head of each picture, so that a later run knows it
HEAD_BYTES = 128  # the mark is in these


class AnnotatedImages(Sink[Result]):
    """Writes delivered frames to a folder, under their file's name (as JPEG, or PNG if it was one).

    Two files of one name from different folders become `a.jpg` and `a-2.jpg`, also where different sinks write to
    the folder at a time. A file that lies there already is written over only if such a sink made it, in an earlier
    run: photographs never are. A frame without a file's name is `<camera>-<frame id>.jpg`. `chosen`: only frames on
    which it finds something; `every_s`: only frames captured so many seconds after the last one that was written.
    Both are for one camera.

    Raises:
        SinkError: the folder cannot be made, or a file not be written.
    """

    _taken: ClassVar[
        dict[Path, tuple[object, str]]
    ] = {}  # file written -> by whom, and the file it came from
    _taking = threading.Lock()

    def __init__(self, folder: str | Path, chosen: Choice | None = None, every_s: float = 0.0) -> None:
        self._folder = folder = Path(folder)
        self._chosen = chosen
        self._every_s, self._last_s = every_s, -math.inf
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
        if self._chosen is not None and not self._chosen.apply(result).detections:
            return None
        self._last_s = result.frame.captured_s
        return result

    def put(self, item: Result) -> None:
        """Draw and write one picture."""
        picture = drawn(item)
        target = self._target(item)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if target.suffix == ".jpg" else []
        done, data = cv2.imencode(target.suffix, picture, options)
        if not done:
            raise SinkError(f"cannot encode {target}")
        target.write_bytes(_marked(data.tobytes(), target.suffix))

    def close(self) -> None:
        with self._taking:
            for target in [target for target, (sink, _) in self._taken.items() if sink is self]:
                del self._taken[target]

    def _target(self, result: Result) -> Path:
        """Where this frame's picture goes."""
        frame, number = result.frame, 1
        source = Path(frame.name)
        suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
        stem = source.stem if frame.name else f"{file_stem(frame.camera_id)}-{frame.frame_id:06d}"
        target = self._folder / (stem + suffix)
        while not self._take(target, frame.name):
            number += 1
            target = self._folder / f"{stem}-{number}{suffix}"
        return target

    def _take(self, target: Path, source: str) -> bool:
        """Whether this file is this sink's to write the source's picture to."""
        if source:  # frames without a file's name have ids that rise: nothing of them needs to be kept
            with self._taking:
                if self._taken.setdefault(target, (self, source)) != (self, source):
                    return False
        return not _same(target, Path(source)) and not _foreign(target)


def _same(a: Path, b: Path) -> bool:
    """Whether both are one file, which is there."""
    try:
        return a.samefile(b)
    except OSError:
        return False


def _foreign(target: Path) -> bool:
    """Whether there is a file that no AnnotatedImages wrote."""
    try:
        with target.open("rb") as file:
            return MARK not in file.read(HEAD_BYTES)
    except FileNotFoundError:
        return False


def _marked(data: bytes, suffix: str) -> bytes:
    """A JPEG with the mark as its comment, or a PNG with it as the text `Software`."""
    if suffix == ".jpg":
        start, chunk = 2, b"\xff\xfe" + struct.pack(">H", 2 + len(MARK)) + MARK
    else:
        start, text = 8 + 25, b"tEXtSoftware\0" + MARK  # behind the signature and IHDR
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:start] + chunk + data[start:]
