"""A stream that runs beside its test, and what the test waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from client import DetectionStream, DirectTransport, RelayTransport, StreamConfig
from client.types import Source


@contextmanager
def streaming(
    source: Source, target: str | DirectTransport | RelayTransport, config: StreamConfig
) -> Iterator[DetectionStream]:
    """A stream whose results are taken."""
    with DetectionStream(source, target, config) as stream:
        taker = threading.Thread(target=lambda: list(stream))
        taker.start()
        try:
            yield stream
        finally:
            stream.stop()
            taker.join(10)


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> float:
    """How long it took to come true."""
    began_s = time.monotonic()
    while not what():
        assert time.monotonic() - began_s < seconds
        time.sleep(0.005)
    return time.monotonic() - began_s
