"""What a sink is, and the queue that keeps a slow one from stalling the stream."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from client.errors import SinkError
from client.types import Result

Item = TypeVar("Item")


class Sink(ABC, Generic[Item]):
    """Where results go. Use it as a context manager and `write` each result, from one thread.

    Behind a `QueuedSink` the two halves of `write` run on different threads: `prepare` on the stream's, `put`
    on the sink's own.

    Raises (from any method):
        SinkError, OSError: it cannot be written.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @abstractmethod
    def prepare(self, result: Result) -> Item | None:
        """What the sink needs of a result, quickly made; None where it needs nothing."""

    @abstractmethod
    def put(self, item: Item) -> None:
        """Write what `prepare` made."""

    def close(self) -> None:
        """Finish what was begun. May be called more than once."""

    def write(self, result: Result) -> None:
        """`prepare` and `put`."""
        item = self.prepare(result)
        if item is not None:
            self.put(item)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()


class QueuedSink(Generic[Item]):
    """A sink on a thread of its own behind a bounded queue: what was prepared = `written` + `dropped`.

    A full queue drops the newest result. With `wait` (for a source that waits too) it holds the caller back
    instead, for at most `wait_s`. A sink that fails is written no more; `error` then says why.
    """

    def __init__(self, sink: Sink[Item], size: int, *, wait: bool = False, wait_s: float = 10.0) -> None:
        self.name = sink.name
        self.written = 0
        self.dropped = 0
        self.error: str | None = None
        self._sink = sink
        self._wait_s = wait_s if wait else 0.0
        self._items: queue.Queue[Item | None] = queue.Queue(size)
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Hand one result over; never raises. From any thread."""
        try:
            item = self._sink.prepare(result)
            if item is None:
                return
            if self.error is not None or self._closed:
                raise queue.Full
            self._items.put(item, block=self._wait_s > 0, timeout=self._wait_s or None)
        except queue.Full:
            self._lose()
        except Exception as error:
            self._lose(error)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued and close the sink; give up after `timeout_s`, what is left is dropped then."""
        if self._closed:
            return
        self._closed = True
        end_s = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):  # said below
            self._items.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            self.error = f"{self.name}: did not finish within {timeout_s:g} s"
            self.dropped += self._drain()

    def _run(self) -> None:
        try:
            while (item := self._items.get()) is not None:
                if self.error is None:
                    self._put(item)
                else:
                    self._lose()
        finally:
            try:
                self._sink.close()
            except Exception as error:
                self.error = self.error or f"{self.name}: {_reason(error)}"

    def _put(self, item: Item) -> None:
        try:
            self._sink.put(item)
            self.written += 1
        except Exception as error:  # whatever it is, it ends this sink and not the stream
            self._lose(error)

    def _lose(self, error: Exception | None = None) -> None:
        """Count one result that will not be written."""
        with self._lock:
            self.dropped += 1
            if error is not None and self.error is None:
                self.error = f"{self.name}: {_reason(error)}"

    def _drain(self) -> int:
        """Take out what is still queued; how many that were."""
        lost = 0
        while True:
            try:
                lost += self._items.get_nowait() is not None
            except queue.Empty:
                return lost


def _reason(error: Exception) -> str:
    """An exception in a line."""
    if isinstance(error, SinkError):
        return str(error)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
