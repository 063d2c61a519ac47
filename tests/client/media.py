"""Small media files for the client's tests."""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(number: int = 0, size_wh: tuple[int, int] = (96, 64)) -> NDArray[np.uint8]:
    """A plain picture whose brightness tells its number: 10, 20, ... up to 250."""
    value = 10 * (number % 25 + 1)
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def number_of(image_bgr: NDArray[np.uint8]) -> int:
    """The number of a `picture`, read back from lossy pixels."""
    return round(float(image_bgr.mean()) / 10) - 1


def write_video(path: Path, frames: int = 10, fps: float = 50.0, size_wh: tuple[int, int] = (96, 64)) -> Path:
    """An MP4 file of so many `picture`s."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number, size_wh))
    writer.release()
    return path


def jpeg(image_bgr: NDArray[np.uint8], orientation: int = 1, order: str = "<", quality: int = 95) -> bytes:
    """A JPEG file, with an Exif block if `orientation` is not 1."""
    data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    if orientation == 1:
        return data
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 1)
    tiff += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(f"{order}I", 0)
    block = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def png(image_bgr: NDArray[np.uint8]) -> bytes:
    """A PNG file."""
    return cv2.imencode(".png", image_bgr)[1].tobytes()


class Device:
    """A camera that can be switched off and on, and change its size; what `cv2.VideoCapture` would be."""

    def __init__(self) -> None:
        self.on = True
        self.size_wh = (96, 64)
        self.holds = threading.Event()  # set: it gives frames
        self.holds.set()
        self.opened = 0

    def open(self) -> Device | None:
        self.opened += 1
        return self if self.on else None

    def grab(self) -> bool:
        self.holds.wait(10)
        time.sleep(0.01)
        return self.on

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((self.size_wh[1], self.size_wh[0], 3), np.uint8)

    def get(self, _what: int) -> float:
        return 30.0

    def getBackendName(self) -> str:
        return "FFMPEG"

    def release(self) -> None:
        pass
