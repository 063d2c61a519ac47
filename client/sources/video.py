"""A video as a source, at its own rate like a camera, or each frame as fast as it is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from client.errors import SourceError
from client.sources.capture import frame_rate, open_file, open_url, retrieve
from client.sources.names import redact
from client.sources.options import Pacer, SourceOptions, capture_time
from client.types import Frame


class VideoSource:
    """The frames of one video, which `open_capture` opens and errors call `shown`.

    `live` (paced at its own rate) unless `options.every_frame` is set. `fps` is the rate of what it gives.

    Raises:
        SourceError: it cannot be read as a video.
    """

    def __init__(
        self,
        camera_id: str,
        shown: str,
        open_capture: Callable[[], cv2.VideoCapture | None],
        options: SourceOptions,
    ) -> None:
        self.camera_id = camera_id
        self.live = not options.every_frame
        self._shown = shown
        self._open_capture = open_capture
        self._options = options
        self._stop = threading.Event()
        self._capture = self._open()
        self._rate = options.fps or frame_rate(self._capture)
        self.fps = self._rate / options.vid_stride

    def frames(self) -> Iterator[Frame]:
        """Each `vid_stride`-th frame, once (or again and again with `loop`). Call it once."""
        pacer = Pacer(self._rate, self._stop) if self.live else None
        grabbed = True  # the first frame: that is how _open() knows that there is one
        index = frame_id = 0
        try:
            while not self._stop.is_set() and (pacer is None or pacer.wait()):
                captured_s, unix_ns = capture_time()  # before FFmpeg reads and decodes it, in one call
                if not grabbed and not self._advance():
                    return
                grabbed = False
                if index % self._options.vid_stride == 0:
                    image = retrieve(self._capture)  # None: a frame without a picture, which becomes an error
                    yield Frame(
                        self.camera_id, frame_id, captured_s, unix_ns, image, decoded_s=time.monotonic()
                    )
                    frame_id += 1
                index += 1
        finally:
            self._capture.release()

    def close(self) -> None:
        """End `frames()` soon, from any thread."""
        self._stop.set()

    def _advance(self) -> bool:
        """Grab the next frame; at the end begin again where `loop` is set."""
        if self._capture.grab():
            return True
        if not self._options.loop:
            return False
        self._capture.release()
        self._capture = self._open()
        return True

    def _open(self) -> cv2.VideoCapture:
        """The video, opened and with its first frame grabbed."""
        capture = self._open_capture()
        if capture is None or not capture.grab():
            raise SourceError(f"cannot read {self._shown} as a video: is it one, and whole?")
        return capture


def file_source(path: Path, camera_id: str, options: SourceOptions) -> VideoSource:
    """A video file on this computer.

    Raises:
        SourceError: it cannot be read, or not as a video.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    return VideoSource(camera_id, str(path), lambda: open_file(path), options)


def url_file_source(url: str, camera_id: str, options: SourceOptions) -> VideoSource:
    """A video file on a web server.

    Raises:
        SourceError: it cannot be had, or not as a video.
    """
    return VideoSource(camera_id, redact(url), lambda: open_url(url, options, live=False), options)
