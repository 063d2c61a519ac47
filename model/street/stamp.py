"""Frame id and capture time painted into an image's pixels, and read back from them.

The stamp is a strip along the upper edge, two rows of 64 cells, black for 0 and white for 1:

    row 1: frame id (32 bits), then a CRC-32 of the other 96 bits (32 bits)
    row 2: capture time, unix nanoseconds (64 bits)

each most significant bit first. A cell's size is a share of the image's (width / 64, height / 90), so a stamp
survives scaling of the whole image; cells are read by the mean of their middle, so it survives JPEG.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_COLUMNS, _ROWS = 64, 2
_CELL_HEIGHTS = 90  # so many cells would fill the image's height
MIN_STAMP_WH = (128, 90)
_BLACK, _WHITE = 16, 239
_MIN_CONTRAST = 60


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a frame says of itself."""

    frame_id: int  # 0 .. 2**32 - 1
    time_unix_ns: int  # 0 .. 2**64 - 1


def _cell_height(height: int) -> int:
    return max(2, round(height / _CELL_HEIGHTS))


def stamp_height(height: int) -> int:
    """How many pixel rows at the upper edge the stamp takes in an image of that height."""
    return _ROWS * _cell_height(height)


def paint_stamp(image_bgr: npt.NDArray[np.uint8], frame_id: int, time_unix_ns: int) -> None:
    """Paint the stamp into image_bgr uint8 [H, W, 3], in place.

    Raises ValueError if the image is smaller than MIN_STAMP_WH or a number does not fit.
    """
    height, width = image_bgr.shape[:2]
    if width < MIN_STAMP_WH[0] or height < MIN_STAMP_WH[1]:
        raise ValueError(
            f"a stamp needs an image of at least {MIN_STAMP_WH[0]}x{MIN_STAMP_WH[1]} px, got {width}x{height}"
        )
    if not 0 <= frame_id < 2**32 or not 0 <= time_unix_ns < 2**64:
        raise ValueError(f"frame id must fit 32 and time 64 unsigned bits, got {frame_id} and {time_unix_ns}")
    data = struct.pack(">IQ", frame_id, time_unix_ns)
    words = struct.pack(">IIQ", frame_id, zlib.crc32(data), time_unix_ns)
    bits = np.unpackbits(np.frombuffer(words, np.uint8)).reshape(_ROWS, _COLUMNS)
    levels = np.where(bits == 1, _WHITE, _BLACK).astype(np.uint8)
    cell = _cell_height(height)
    column_of = np.arange(width) * _COLUMNS // width
    strip = np.repeat(levels, cell, axis=0)[:, column_of]
    image_bgr[: _ROWS * cell] = strip[..., None]


def read_stamp(image_bgr: npt.NDArray[np.uint8]) -> Stamp | None:
    """Read a stamp from image_bgr uint8 [H, W, 3]; None where there is none or its checksum fails."""
    if image_bgr.ndim != 3 or image_bgr.shape[0] < _CELL_HEIGHTS // 2 or image_bgr.shape[1] < _COLUMNS:
        return None
    height = image_bgr.shape[0]
    nominal = _ROWS * height / _CELL_HEIGHTS
    # The painter rounds cells to whole pixels of the size it had, which scaling has hidden; the checksum decides.
    for rows in dict.fromkeys(
        (_ROWS * _cell_height(height), *(max(_ROWS, round(nominal * f)) for f in (1, 0.85, 1.2)))
    ):
        stamp = _read_strip(np.ascontiguousarray(image_bgr[:rows]))
        if stamp is not None:
            return stamp
    return None


def _read_strip(strip_bgr: npt.NDArray[np.uint8]) -> Stamp | None:
    """The stamp that fills the strip uint8 [rows, W, 3], if its checksum holds."""
    grey = cv2.cvtColor(strip_bgr, cv2.COLOR_BGR2GRAY)
    # Eight samples a cell each way; the middle four by four are averaged, away from the borders' ringing.
    fine = cv2.resize(grey, (_COLUMNS * 8, _ROWS * 8), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    cells = fine.reshape(_ROWS, 8, _COLUMNS, 8)[:, 2:6, :, 2:6].mean(axis=(1, 3))
    low, high = float(cells.min()), float(cells.max())
    if high - low < _MIN_CONTRAST:
        return None
    words = np.packbits(cells > (low + high) / 2).tobytes()
    frame_id, checksum, time_unix_ns = struct.unpack(">IIQ", words)
    if zlib.crc32(struct.pack(">IQ", frame_id, time_unix_ns)) != checksum:
        return None
    return Stamp(frame_id, time_unix_ns)
