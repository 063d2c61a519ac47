"""The end of a program that has left streams open, or that does not wait for a camera that gives nothing.

Python kills daemon threads at its end. One that is in OpenCV's C++ then takes the process with it, in an abort.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from typing import Protocol
from weakref import WeakSet

EXIT_S = 6.0  # for all threads together; OpenCV waits up to 5 s for a camera


class Leaving(Protocol):
    """What has threads that are to end."""

    def leave(self) -> list[threading.Thread]:
        """Tell the threads to end, and return those that are still at work."""


_running: WeakSet[Leaving] = WeakSet()
end_at_exit = _running.add


@atexit.register
def _end_all() -> None:
    """Wait until the threads are out of C++; Ctrl-C ends the wait."""
    end_s = time.monotonic() + EXIT_S
    with contextlib.suppress(KeyboardInterrupt):
        for thread in [thread for stream in _running for thread in stream.leave()]:
            thread.join(max(0.0, end_s - time.monotonic()))
