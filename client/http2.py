"""HTTP/2's frames (RFC 9113) as far as the benches need them, for whom gRPC's own ends take too long.

Frames are built and taken apart here; who uses them knows what the other end may send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Types of frames, flags, settings.
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME_SIZE = 3, 4, 5
MAX_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535  # bytes, of a connection and, until settings say other, of a stream
FIRST_MAX_FRAME = 16_384  # bytes that every peer takes
_HEAD = struct.Struct(">HBBBI")  # length (24 bits), type, flags, stream
HEAD_BYTES = _HEAD.size
MESSAGE_HEAD_BYTES = 5  # before each message of gRPC: whether it is compressed, and its length


def head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The first 9 bytes of a frame whose payload has `length` bytes."""
    return _HEAD.pack(length >> 8, length & 255, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame."""
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: dict[int, int]) -> bytes:
    """A frame of settings."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def settings_in(payload: bytes) -> dict[int, int]:
    """The settings that a frame tells."""
    return dict(struct.iter_unpack(">HI", payload))


def window(stream: int, by: int) -> bytes:
    """A frame that lets the other end send `by` bytes more; stream 0: on the whole connection."""
    return frame(WINDOW, 0, stream, by.to_bytes(4))


class Frames:
    """Takes bytes as they come in, and gives out whole frames: type, flags, stream, payload."""

    def __init__(self) -> None:
        self._rest = b""  # of a frame that has not come in whole

    def of(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """The frames that `data` completes. Use them all before the next call."""
        data = self._rest + data if self._rest else data
        at = 0
        while len(data) - at >= HEAD_BYTES:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            end = at + HEAD_BYTES + (high << 8 | low)
            if end > len(data):
                break
            yield kind, flags, stream, data[at + HEAD_BYTES : end]
            at = end
        self._rest = data[at:]


def message(data: bytes) -> bytes:
    """A message as gRPC frames it, not compressed."""
    return b"\0" + len(data).to_bytes(4) + data
