"""What the generator knows of itself: how late its event loop wakes up, and how much of a core it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import psutil

from loadtest.record import LAG, Recorder

EVERY_S = 0.02
CPU_EVERY_S = 5.0


def watch_loop(recorder: Recorder, unix_s: Callable[[], float] = time.time) -> None:
    """Sleep, and see by how much it took longer; go through gevent's thread pool, as gRPC's events do, and see how long
    that takes. A result that arrives meanwhile is noted as late as that. For ever.
    """
    process, pool = psutil.Process(), gevent.get_hub().threadpool
    process.cpu_percent()
    cpu_due_s = time.monotonic() + CPU_EVERY_S
    while True:
        due_s = time.monotonic() + EVERY_S
        gevent.sleep(EVERY_S)
        pool.apply(time.monotonic)
        now = time.monotonic()
        # A stall takes the place of all the samples that were due in it: as one of many it would not show.
        recorder.add_paced(LAG, unix_s(), max(0.0, now - due_s), EVERY_S)
        if now >= cpu_due_s:
            cpu_due_s = now + CPU_EVERY_S
            recorder.cpu_percent = max(recorder.cpu_percent, process.cpu_percent())
