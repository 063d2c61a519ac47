"""Annotated MP4: a camera's frames with their detections drawn in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from client.errors import SinkError
from client.sinks.base import Lost, Sink
from client.sinks.drawing import drawn
from client.sources.capture import LEAST_FPS, open_file, quiet
from client.types import Result, Status

LONGEST_STILL_S = 10.0  # a gap of frames is filled with the one before it, up to here


class AnnotatedVideo(Sink[Result]):
    """One MP4 file (codec mp4v) of one camera. The file begins with the first delivered frame.

    Its time is the camera's: where frames are missing (dropped, errored) the one before stays. `live`: placed by
    their capture times, else by their ids; frames of a camera that gives more of them than `fps` are left out once
    they are a second ahead of it. A frame of another size than the first is fitted into that one's.

    Raises:
        SinkError: the file cannot be written.
        Lost: from `close`: so much of it was not written, as on a full disk.
    """

    def __init__(self, path: str | Path, fps: float, *, live: bool) -> None:
        self._path = path = Path(path)
        self._fps = min(max(fps, LEAST_FPS), 120.0)
        self._live = live
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._last: NDArray[np.uint8] | None = None
        self._start: tuple[int, float] = (0, 0.0)  # id and capture time of the first frame
        self._results = self._appended = 0  # results put, and frames given to the file
        self._slot = -1  # place of the last frame written
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}") from None

    @property
    def name(self) -> str:
        return str(self._path)

    def prepare(self, result: Result) -> Result | None:
        """Delivered frames only."""
        return result if result.status is Status.DELIVERED else None

    def put(self, item: Result) -> None:
        """Draw and append one frame."""
        picture = drawn(item)
        self._results += 1
        frame_id, captured_s = item.frame.frame_id, item.frame.captured_s
        if self._writer is None:
            height, width = picture.shape[:2]
            self._size_wh = (width, height)
            self._start = (frame_id, captured_s)
            self._writer = self._open()
        due = (
            round((captured_s - self._start[1]) * self._fps) if self._live else frame_id - self._start[0]
        )  # its place in the file
        if self._live and self._slot + 1 - due > self._fps:
            return  # it would become slow motion
        missing = min(max(due - self._slot - 1, 0), round(LONGEST_STILL_S * self._fps))
        if self._last is not None:
            for _ in range(missing):
                self._append(self._last)
        self._last = fit(picture, self._size_wh)
        self._append(self._last)
        self._slot = max(due, self._slot + 1)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._last = None
            missing = min(self._results, self._appended - _length(self._path))
            if missing > 0:
                raise Lost("the file misses frames; is the disk full?", missing)

    def _append(self, picture: NDArray[np.uint8]) -> None:
        assert self._writer is not None
        with quiet():  # FFmpeg tells a full disk for each frame, and OpenCV to nobody but the terminal
            self._writer.write(picture)
        self._appended += 1

    def _open(self) -> cv2.VideoWriter:
        with quiet():
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(
                str(self._path.absolute()), cv2.CAP_FFMPEG, fourcc, self._fps, self._size_wh
            )
        if not writer.isOpened():
            width, height = self._size_wh
            raise SinkError(f"cannot write a video of {width}x{height} pixels there")
        return writer


def _length(path: Path) -> int:
    """How many frames a file really holds; 0 where nothing can read it."""
    capture = open_file(path)
    if capture is None:
        return 0
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


def fit(image_bgr: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture scaled into `size_wh` with its shape kept, black beside it: uint8 [H, W, 3]."""
    height, width = image_bgr.shape[:2]
    if (width, height) == size_wh:
        return image_bgr
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner_w = min(size_wh[0], max(1, round(width * scale)))
    inner_h = min(size_wh[1], max(1, round(height * scale)))
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x, y = (size_wh[0] - inner_w) // 2, (size_wh[1] - inner_h) // 2
    canvas[y : y + inner_h, x : x + inner_w] = cv2.resize(image_bgr, (inner_w, inner_h))
    return canvas
