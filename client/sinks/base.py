"""What a sink is, and the queue that keeps a slow one from stalling the stream."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

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
        self._size = size
        self._wait_s = wait_s if wait else 0.0
        self._items: deque[Item] = deque()
        self._under_way = 0  # 1 while the sink writes
        self._stopping = self._given_up = False
        self._changed = threading.Condition()  # guards all the above
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Hand one result over; never raises. From any thread."""
        try:
            item = self._sink.prepare(result)
        except Exception as error:
            self._lose(error)
            return
        if item is None:
            return
        with self._changed:
            if self._wait_s:
                self._changed.wait_for(self._ready, self._wait_s)
            if self.error is not None:
                self.dropped["failed"] += 1
            elif self._stopping:
                self.dropped["shutdown"] += 1
            elif len(self._items) >= self._size:
                self.dropped["queue_full"] += 1
            else:
                self._items.append(item)
                self._changed.notify_all()

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued and close the sink; give up after `timeout_s`, what is left is dropped then."""
        close_all([self], timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> bool:
        """Whether a result has to wait no longer."""
        return len(self._items) < self._size or self._stopping or self.error is not None

    def _stop(self) -> None:
        """Take no more, and close the sink after what is queued."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _give_up(self, late: str) -> None:
        """Drop what is not written yet; what the sink writes or loses from now on counts no more."""
        with self._changed:
            if self._given_up or not self._thread.is_alive():
                return
            self._given_up = True
            late = f"{self.name}: {late}"
            self.error = f"{late} ({self.problem})" if self.problem else late
            self.dropped["shutdown"] += len(self._items) + self._under_way
            self._items.clear()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._put(item)
        lost: BaseException | None = None
        try:
            self._sink.close()
        except Exception as error:
            lost = error
        with self._changed:
            if isinstance(lost, Lost) and not self._given_up:
                self._lose(lost, counted=lost.count)
            elif lost is not None:
                self.error = self.error or f"{self.name}: {_reason(lost)}"
            if not self.written and self.problem and self.error is None:
                self.error = f"{self.name}: nothing was delivered: {self.problem}"

    def _next(self) -> Item | None:
        """Wait for a result; None where no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._stopping)
            if not self._items:
                return None
            self._under_way = 1
            self._changed.notify_all()  # there is room
            return self._items.popleft()

    def _put(self, item: Item) -> None:
        """Write one result and count what became of it."""
        failure: BaseException | None = None
        broken = self.error is not None
        if not broken:
            try:
                self._sink.put(item)
            except BaseException as error:  # whatever it is, it ends this sink and not the stream
                failure = error
        with self._changed:
            self._under_way = 0
            if self._given_up:
                return  # it is counted already
            if failure is not None:
                self._lose(failure, counted=failure.count - 1 if isinstance(failure, Lost) else 0)
            elif broken:
                self.dropped["failed"] += 1
            else:
                self.written += 1

    def _lose(self, error: BaseException, counted: int = 0) -> None:
        """Count what an error cost, `counted` of them as written before; any but Lost is the end of the sink."""
        with self._changed:
            if isinstance(error, Lost):
                self.problem = str(error)
                self.written -= counted
                self.dropped["undelivered"] += error.count
                return
            self.dropped["failed"] += 1
            self.error = self.error or f"{self.name}: {_reason(error)}"
            self._changed.notify_all()


def close_all(sinks: Iterable[QueuedSink[Any]], timeout_s: float = 10.0) -> None:
    """Close sinks side by side: each has all of `timeout_s`, however long another takes."""
    sinks = list(sinks)
    end_s = time.monotonic() + timeout_s
    for sink in sinks:
        sink._stop()
    for sink in sinks:
        sink._thread.join(max(0.0, end_s - time.monotonic()))
        sink._give_up(f"did not finish within {timeout_s:g} s")


def _reason(error: BaseException) -> str:
    """An exception in a line."""
    if isinstance(error, SinkError):
        return str(error)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
