"""What a sink is, and the queue that keeps a slow one from stalling the stream."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from types import TracebackType
from typing import Generic, Self, TypeVar

from client.errors import SinkError
from client.types import Result

Item = TypeVar("Item")


class Lost(SinkError):
    """`count` results that were handed over could not be written; the sink goes on with the next."""

    def __init__(self, message: str, count: int = 1) -> None:
        super().__init__(message)
        self.count = count


class Sink(ABC, Generic[Item]):
    """Where results go. Use it as a context manager and `write` each result, from one thread.

    Behind a `QueuedSink` the two halves of `write` run on different threads: `prepare` on the stream's, `put`
    on the sink's own.

    Raises (from any method):
        Lost: this result is not written, nor are those before it that make up `count`; the next one may be.
            From `close`: so many were not.
        SinkError, OSError: nothing more can be written.
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
    """A sink on a thread of its own behind a bounded queue: what was prepared = `written` + Σ `dropped`.

    `dropped` counts by reason: `queue_full` (the sink is slower than the stream: the newest result is dropped),
    `undelivered` (the sink lost it and went on), `failed` (the sink is broken), `shutdown`. With `wait` (for a
    source that waits too) a full queue holds the caller back instead, for at most `wait_s`. A sink that fails is
    written no more; `error` then says why. `error` is also set if nothing at all could be delivered.
    """

    def __init__(self, sink: Sink[Item], size: int, *, wait: bool = False, wait_s: float = 10.0) -> None:
        self.name = sink.name
        self.written = 0
        self.dropped: Counter[str] = Counter()
        self.error: str | None = None
        self.problem: str | None = None  # why results were lost last
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
                self._drop("failed" if self.error is not None else "shutdown")
            else:
                self._items.put(item, block=self._wait_s > 0, timeout=self._wait_s or None)
        except queue.Full:
            self._drop("queue_full")
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
            late = f"{self.name}: did not finish within {timeout_s:g} s"
            self.error = f"{late} ({self.problem})" if self.problem else late
            self._drop("shutdown", self._drain())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while (item := self._items.get()) is not None:
                if self.error is None:
                    self._put(item)
                else:
                    self._drop("failed")
        finally:
            try:
                self._sink.close()
            except Lost as lost:  # they were handed over and counted
                self.written -= lost.count
                self._lose(lost)
            except Exception as error:
                self.error = self.error or f"{self.name}: {_reason(error)}"
            if not self.written and self.problem and self.error is None:
                self.error = f"{self.name}: nothing was delivered: {self.problem}"

    def _put(self, item: Item) -> None:
        try:
            self._sink.put(item)
            self.written += 1
        except Lost as lost:
            self.written -= lost.count - 1  # those before it were counted already
            self._lose(lost)
        except Exception as error:  # whatever it is, it ends this sink and not the stream
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Count what an error cost; any but Lost is the end of the sink."""
        if isinstance(error, Lost):
            self.problem = str(error)
            self._drop("undelivered", error.count)
            return
        self._drop("failed")
        self.error = self.error or f"{self.name}: {_reason(error)}"

    def _drop(self, reason: str, count: int = 1) -> None:
        """Count results that will not be written."""
        with self._lock:
            self.dropped[reason] += count

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
