"""Image files as a source: one, a folder of them, or those that a glob names."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from client.errors import SourceError
from client.sources.capture import quiet
from client.sources.header import is_encoded, read_header
from client.sources.names import redact
from client.sources.options import Pacer, SourceOptions, capture_time
from client.types import Frame

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# More of a file is not read: whoever decodes it refuses what is left. A 50-megapixel JPEG has about 15 MB.
MAX_BYTES = 64 << 20


class ImageSource:
    """Frames from image files, in the order given.

    JPEG and PNG files travel as they are (`Frame.jpeg`), so a corrupt one comes back as that frame's error.
    Other formats, and JPEG that Exif says to turn, are decoded here (`Frame.image_bgr`).
    Not `live` (each file waits to be taken) unless `options.fps` makes it a slide show.
    """

    def __init__(self, paths: Sequence[Path], camera_id: str, options: SourceOptions) -> None:
        self.camera_id = camera_id
        self.live = options.fps is not None
        self.fps = options.fps or 1.0
        self._paths = paths[:: options.vid_stride]
        self._options = options
        self._stop = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """A frame for each file, whether it can be read or not; again and again with `loop`."""
        pacer = Pacer(self.fps, self._stop) if self.live else None
        frame_id = 0
        while not self._stop.is_set():
            for path in self._paths:
                if self._stop.is_set() or (pacer is not None and not pacer.wait()):
                    return
                yield load(path, self.camera_id, frame_id)
                frame_id += 1
            if not self._options.loop:
                return

    def close(self) -> None:
        """End `frames()` soon, from any thread."""
        self._stop.set()


def load(path: Path, camera_id: str, frame_id: int) -> Frame:
    """A file as a frame, with its bytes or its decoded image: exactly one of them. An unreadable file is b""."""
    captured_s, unix_ns = capture_time()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError:
        data = b""
    frame = Frame(
        camera_id, frame_id, captured_s, unix_ns, jpeg=data, name=str(path), read_s=time.monotonic()
    )
    header = read_header(data)
    if not data or (is_encoded(data) and (header is None or header.orientation == 1)):
        return frame
    image = decode(data)  # turned upright as Exif says
    if image is None:
        return frame
    return replace(frame, image_bgr=image, jpeg=None, decoded_s=time.monotonic())


def decode(data: bytes, *, turn: bool = True) -> NDArray[np.uint8] | None:
    """An encoded picture as uint8 [H, W, 3], BGR; None where it is broken. `turn`: as its Exif says."""
    if not data:
        return None
    flags = cv2.IMREAD_COLOR if turn else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with quiet():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV's limit, for one
        return None
    return None if image is None else np.asarray(image, np.uint8)


def folder_source(folder: Path, camera_id: str, options: SourceOptions) -> ImageSource:
    """The image files that lie in a folder (not in folders below), by name.

    Raises:
        SourceError: there is none, or the folder cannot be read.
    """
    try:
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror}") from None
    if not paths:
        kinds = " ".join(sorted(SUFFIXES))
        raise SourceError(f"no images in {folder}: expected files with one of the endings {kinds}")
    return ImageSource(paths, camera_id, options)


def glob_source(pattern: str, camera_id: str, options: SourceOptions) -> ImageSource:
    """The files that a glob names (`**` for folders below), by name.

    Raises:
        SourceError: there is none.
    """
    paths = sorted(Path(name) for name in glob(pattern, recursive=True) if Path(name).is_file())
    if not paths:
        raise SourceError(f"no files match {redact(pattern)}")
    return ImageSource(paths, camera_id, options)
