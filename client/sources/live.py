"""Webcams and network cameras: never waited for, and opened again when they go away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from enum import StrEnum

import cv2

from client.backoff import Backoff
from client.errors import SourceError
from client.sources.capture import DEFAULT_FPS, frame_rate, open_url, open_webcam, retrieve
from client.sources.names import redact
from client.sources.options import SourceOptions, capture_time
from client.types import Frame

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between attempts to open a camera again


class CameraState(StrEnum):
    """What a camera is doing now."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    BACKING_OFF = "backing off"
    CLOSED = "closed"


class LiveSource:
    """A camera that is opened by `open_capture`, and again whenever it ends or gives nothing for a while.

    Frame ids go on over a reconnect; the picture's size may be another one then. `state` and `reconnects`
    tell how it is; `shown` names it without its password.

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
        self.state = CameraState.CONNECTING
        self.reconnects = 0
        self.fps = options.fps or DEFAULT_FPS
        self._open_capture = open_capture
        self._options = options
        self._stop = threading.Event()
        self._frame_id = 0
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
                self.state = CameraState.CONNECTING
                capture = self._open_capture()
            if capture is not None:
                before = self._frame_id
                yield from self._read(capture)
                capture = None
                self.reconnects += 1
                if self._frame_id > before:
                    backoff.reset()
            self.state = CameraState.BACKING_OFF
            self._stop.wait(backoff.next_s())
        self.state = CameraState.CLOSED

    def close(self) -> None:
        """End `frames()`, from any thread: at once while it waits, else within the read timeout."""
        self._stop.set()

    def _read(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """Frames of one connection, until it ends or stalls."""
        if self._options.fps is None:
            self.fps = frame_rate(capture) / self._options.vid_stride
        period_s = 1.0 / self._options.fps if self._options.fps else 0.0
        index, next_s = -1, 0.0
        try:
            while not self._stop.is_set() and capture.grab():
                captured_s, unix_ns = capture_time()
                index += 1
                if index % self._options.vid_stride or captured_s < next_s - period_s / 10:
                    continue
                next_s = (next_s if captured_s - next_s < period_s else captured_s) + period_s
                image = retrieve(capture)
                if image is None:
                    continue
                self.state = CameraState.STREAMING
                yield Frame(self.camera_id, self._frame_id, captured_s, unix_ns, image_bgr=image)
                self._frame_id += 1
        finally:
            capture.release()


def url_source(url: str, camera_id: str, options: SourceOptions) -> LiveSource:
    """A network camera (rtsp, http, rtmp, ...)."""
    hint = "no answer or no video there; check its address and password"
    return LiveSource(camera_id, redact(url), lambda: open_url(url, options), options, hint)


def webcam_source(index: int, camera_id: str, options: SourceOptions) -> LiveSource:
    """The computer's own camera number `index`."""
    hint = "no such camera, or another program holds it"
    return LiveSource(camera_id, f"webcam {index}", lambda: open_webcam(index, options), options, hint)
