"""Webcams and network cameras: never waited for, and opened again when they go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum

import cv2

from client.backoff import Backoff
from client.errors import SourceError
from client.sources.capture import DEFAULT_FPS, frame_rate, grab, open_url, open_webcam, retrieve
from client.sources.names import redact
from client.sources.options import SourceOptions, unix_ns_at
from client.transport import SourceReport
from client.types import Frame

STALLED_S = 2.0  # a camera that gave frames and then none for so long
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between attempts to open a camera again


class CameraState(StrEnum):
    """What a camera is doing now."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    BACKING_OFF = "backing off"
    CLOSED = "closed"


class LiveSource:
    """A camera that is opened by `open_capture`, and again whenever it ends or gives nothing for a while.

    Frame ids go on over a reconnect; the picture's size may be another one then. A frame that cannot be decoded has no
    picture; a camera that gives only such ones for `options.read_timeout_s` is opened again. `state`, `report` and
    `reconnects` (times that it gave pictures again after it had gone away) tell how it is; `shown` names it without its
    password. `changed` is called when the state has changed.

    Raises:
        SourceError: it cannot be opened, unless `options.patient`.
    """

    live = True

    def __init__(
        self,
        camera_id: str,
        shown: str,
        open_capture: Callable[[], cv2.VideoCapture | None],
        options: SourceOptions,
        hint: str,
    ) -> None:
        self.camera_id = camera_id
        self.shown = shown
        self.reconnects = 0
        self.changed: Callable[[], None] = lambda: None
        self.fps = options.fps or DEFAULT_FPS
        self._open_capture = open_capture
        self._options = options
        self._state = CameraState.CONNECTING
        self._grabbed_s = self._retry_at_s = 0.0  # on the monotonic clock
        self._stop = threading.Event()
        self._go_on = threading.Event()  # ends a pause
        self._frame_id = self._pictures = 0
        self._first: cv2.VideoCapture | None = None
        if not options.patient:
            self._first = open_capture()
            if self._first is None:
                raise SourceError(f"cannot open {shown}: {hint}")

    def frames(self) -> Iterator[Frame]:
        """Frames until `close()`. Call it once."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        capture, self._first = self._first, None
        while not self._stop.is_set():
            if capture is None:
                self._become(CameraState.CONNECTING)
                capture = self._open_capture()
            if capture is not None:
                before = self._pictures
                yield from self._read(capture)
                capture = None
                if self._pictures > before:
                    backoff.reset()
            pause_s = backoff.next_s()
            self._retry_at_s = time.monotonic() + pause_s
            self._go_on.clear()
            self._become(CameraState.BACKING_OFF)
            if not self._stop.is_set():
                self._go_on.wait(pause_s)
        self._become(CameraState.CLOSED)

    def close(self) -> None:
        """End `frames()`, from any thread: at once while it waits, else within the read timeout."""
        self._stop.set()
        self._go_on.set()

    def retry_now(self) -> None:
        """Do not wait for the next attempt to open it, from any thread."""
        self._go_on.set()

    @property
    def state(self) -> CameraState:
        """What it is doing now."""
        if self._state is CameraState.STREAMING and time.monotonic() - self._grabbed_s > STALLED_S:
            return CameraState.STALLED
        return self._state

    def report(self) -> SourceReport:
        """The state, for those who look from elsewhere."""
        state = self.state
        left_s = self._retry_at_s - time.monotonic() if state is CameraState.BACKING_OFF else 0.0
        return SourceReport(state, retry_s=max(0.0, left_s))

    def _become(self, state: CameraState) -> None:
        if state is not self._state:
            self._state = state
            self.changed()

    def _read(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """Frames of one connection, until it ends or stalls."""
        if self._options.fps is None:
            self.fps = frame_rate(capture) / self._options.vid_stride
        period_s = 1.0 / self._options.fps if self._options.fps else 0.0
        index, next_s = -1, 0.0
        broken_s, before = 0.0, self._pictures  # since when none can be decoded; 0: the last one could be
        try:
            while not self._stop.is_set() and (grabbed := grab(capture)) is not None:
                captured_s, read_s = grabbed
                now_s = time.monotonic()
                index += 1
                if index % self._options.vid_stride or captured_s < next_s - period_s / 10:
                    self._grabbed_s = now_s
                    continue
                next_s = (next_s if captured_s - next_s < period_s else captured_s) + period_s
                image = retrieve(capture)
                broken_s = broken_s or now_s if image is None else 0.0
                if image is not None:
                    self._grabbed_s = now_s
                    self.reconnects += 0 < before == self._pictures
                    self._pictures += 1
                    self._become(CameraState.STREAMING)
                yield Frame(
                    self.camera_id, self._frame_id, captured_s, unix_ns_at(captured_s), image,
                    read_s=read_s, decoded_s=time.monotonic(),
                )  # fmt: skip
                self._frame_id += 1
                if broken_s and now_s - broken_s > self._options.read_timeout_s:
                    return
        finally:
            capture.release()


def url_source(url: str, camera_id: str, options: SourceOptions) -> LiveSource:
    """A network camera (rtsp, http, rtmp, ...)."""
    hint = "no answer or no video there; check its address and password"
    return LiveSource(camera_id, redact(url), lambda: open_url(url, options, live=True), options, hint)


def webcam_source(index: int, camera_id: str, options: SourceOptions) -> LiveSource:
    """The computer's own camera number `index`."""
    hint = "no such camera, or another program holds it"
    return LiveSource(camera_id, f"webcam {index}", lambda: open_webcam(index, options), options, hint)
