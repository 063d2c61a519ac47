"""OpenCV's video capture, kept quiet and within time limits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Read by OpenCV when the first capture opens. FFmpeg would print each broken packet, and URLs with passwords.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")  # seconds that a webcam may give nothing

import cv2
import numpy as np
from numpy.typing import NDArray

from client.sources.options import SourceOptions

DEFAULT_FPS = 25.0
LEAST_FPS = 0.01  # of a time lapse
# What a webcam's driver says of a frame's time is believed unless it is further back than its few buffers reach.
OLDEST_STAMP_S = 5.0


class _Quiet:
    """How many threads want OpenCV's own log to be off; it has one level for all of them."""

    lock = threading.Lock()
    wanted = 0
    level = 0  # before the first of them


@contextmanager
def quiet() -> Iterator[None]:
    """OpenCV's own log off: it warns on stderr about what we say in one line ourselves."""
    with _Quiet.lock:
        if not _Quiet.wanted:
            _Quiet.level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _Quiet.wanted += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.wanted -= 1
            if not _Quiet.wanted:
                cv2.utils.logging.setLogLevel(_Quiet.level)


def open_file(path: Path) -> cv2.VideoCapture | None:
    """A video file, or None where FFmpeg cannot read it.

    The path is made absolute: FFmpeg takes a relative one like `concat:a|b` for a protocol.
    """
    with quiet():
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    return _opened(capture)


def open_url(url: str, options: SourceOptions, *, live: bool) -> cv2.VideoCapture | None:
    """A stream, or None where it does not answer within `open_timeout_s` or holds no video. `live`: a camera's."""
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(options.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(options.read_timeout_s * 1000),
    ]
    if live:  # with N threads, one a core by default, FFmpeg holds back N - 1 frames
        limits += [cv2.CAP_PROP_N_THREADS, 1]
    with quiet():
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    return _opened(capture)


def open_webcam(index: int, options: SourceOptions) -> cv2.VideoCapture | None:
    """The computer's camera number `index`, or None where there is none that can be opened."""
    with quiet():
        capture = cv2.VideoCapture(index)
        if capture.isOpened() and options.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, options.fps)  # a wish; many cameras have one rate only
    return _opened(capture)


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Frames a second that the stream claims, or 25 where it claims nothing or nonsense."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if LEAST_FPS <= fps <= 240.0 else DEFAULT_FPS


def grab(capture: cv2.VideoCapture) -> tuple[float, float] | None:
    """Wait for a camera's next frame: when it was captured and when it was read, undecoded; None: no more come.

    Both are `time.monotonic()`. A webcam's driver says when a frame came. FFmpeg waits for a network camera's frame,
    reads and decodes it, all in this call: its CPU time is what was not waiting, and 0 stands for when it was read.
    """
    cpu_s = time.thread_time()
    with quiet():  # it tells a camera that gives nothing
        if not capture.grab():
            return None
    now_s = time.monotonic()
    if capture.getBackendName() != "V4L2":
        return now_s - (time.thread_time() - cpu_s), 0.0
    stamp_s = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
    # Some drivers have no stamps (0), or another clock's.
    return (stamp_s, now_s) if 0 < stamp_s <= now_s <= stamp_s + OLDEST_STAMP_S else (now_s, 0.0)


def retrieve(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The frame that was grabbed last: uint8 [H, W, 3], BGR; None where it could not be decoded."""
    try:
        ok, image = capture.retrieve()
    except cv2.error:
        return None
    if not ok or image is None or image.ndim != 3 or image.size == 0:
        return None
    return np.asarray(image, np.uint8)


def _opened(capture: cv2.VideoCapture) -> cv2.VideoCapture | None:
    if capture.isOpened():
        return capture
    capture.release()
    return None
