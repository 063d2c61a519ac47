"""Ctrl-C and SIGTERM are remembered as well as raised.

A KeyboardInterrupt that comes while C code calls back into Python (gRPC's, for one) is dropped there: who waits asks
`check` in between.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_seen = threading.Event()


def install() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, and `check` knows of them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


def check() -> None:
    """Raise KeyboardInterrupt if one of the signals came."""
    if _seen.is_set():
        raise KeyboardInterrupt


def _handle(_number: int, _frame: FrameType | None) -> None:
    _seen.set()
    raise KeyboardInterrupt
