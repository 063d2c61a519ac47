"""What all sources share: their options, their error, and the time of capture."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

MAX_LAG_S = 1.0  # later than this, a paced source stops trying to catch up


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a source is read.

    `vid_stride` takes each n-th frame. `fps` (frames a second): the rate at which a video file, a folder or
    the synthetic camera is paced; a webcam or URL is thinned to it. `loop` starts files again at their end.
    `every_frame` gives a video file or the synthetic camera as fast as frames are taken instead of at its own
    rate, so that none is lost. `patient` lets a webcam or URL that cannot be opened yet be tried again later,
    which is an error otherwise. `open_timeout_s` and `read_timeout_s` bound what a URL may take.

    Raises:
        ValueError: an option is out of its range.
    """

    vid_stride: int = 1
    fps: float | None = None
    loop: bool = False
    every_frame: bool = False
    patient: bool = False
    open_timeout_s: float = 5.0
    read_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if self.vid_stride < 1:
            raise ValueError(f"vid_stride: expected 1 or more, got {self.vid_stride}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps: expected more than 0 and at most 1000, got {self.fps:g}")
        if min(self.open_timeout_s, self.read_timeout_s) <= 0:
            raise ValueError("timeouts of a source: expected more than 0 seconds")


def capture_time() -> tuple[float, int]:
    """Now, as a Frame carries it: (`time.monotonic()` seconds, wall clock nanoseconds)."""
    return time.monotonic(), time.time_ns()


def unix_ns_at(moment_s: float) -> int:
    """The wall clock's nanoseconds at a moment of `time.monotonic()` that is not long ago."""
    return time.time_ns() - round((time.monotonic() - moment_s) * 1e9)


class Pacer:
    """Lets frame i go at i / fps seconds after the first; `stop` ends a wait early."""

    def __init__(self, fps: float, stop: threading.Event) -> None:
        self._period_s = 1.0 / fps
        self._stop = stop
        self._due_s = 0.0  # on the monotonic clock; 0 until the first frame

    def wait(self) -> bool:
        """Sleep until the next frame is due. False: stopped."""
        now = time.monotonic()
        if self._due_s == 0 or now - self._due_s > MAX_LAG_S:
            self._due_s = now
        elif self._due_s > now:
            self._stop.wait(self._due_s - now)
        self._due_s += self._period_s
        return not self._stop.is_set()
