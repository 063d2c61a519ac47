"""What the header of an encoded picture tells without decoding it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# Start-of-frame markers: C0..CF but DHT (C4), JPG (C8) and DAC (CC).
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # without a length
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Header:
    """`size_wh` in pixels as stored; `orientation` as in Exif, 1..8, 1 = upright."""

    size_wh: tuple[int, int]
    orientation: int = 1


def is_encoded(data: bytes) -> bool:
    """Whether these are the first bytes of a JPEG or PNG file."""
    return data.startswith((JPEG_MAGIC, PNG_MAGIC))


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG or PNG file; None where it is neither, or broken."""
    if data.startswith(PNG_MAGIC):
        if len(data) < 24 or data[12:16] != b"IHDR":
            return None
        width, height = struct.unpack_from(">II", data, 16)
        return Header((width, height))
    return _jpeg_header(data) if data.startswith(JPEG_MAGIC) else None


def _jpeg_header(data: bytes) -> Header | None:
    """Walk the segments up to the start of frame."""
    orientation = 1
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if length < 2 or len(body) < length - 2:
            return None
        if marker in _FRAME_MARKERS:
            if len(body) < 5:
                return None
            height, width = struct.unpack_from(">HH", body, 1)
            return Header((width, height), orientation)
        if marker == 0xE1 and body.startswith(_EXIF):
            orientation = _exif_orientation(body[len(_EXIF) :])
        at += 2 + length
    return None


def _exif_orientation(tiff: bytes) -> int:
    """The orientation that an Exif block's first image directory holds; 1 where it holds none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    directory = struct.unpack_from(f"{order}I", tiff, 4)[0]
    if directory + 2 > len(tiff):
        return 1
    entries = struct.unpack_from(f"{order}H", tiff, directory)[0]
    for at in range(directory + 2, min(directory + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION:
            return int(value) if kind == 3 and count == 1 and 1 <= value <= 8 else 1
    return 1
