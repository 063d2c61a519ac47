"""A camera's frames in, one result for each of them out, in the order of capture.

Three threads per stream: one reads the source, one connects, encodes and sends, and one of the transport's
reports answers. All state lies behind one condition; the caller's iterator takes the finished results.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self

from client.backoff import Backoff
from client.encode import encode_jpeg
from client.errors import ClientError, Unreachable, WrongService
from client.ledger import Entry, Ledger
from client.stream_config import StreamConfig
from client.transport import Answer, Connection, Outgoing, Transport
from client.types import Account, DropReason, Result, Source

DEFAULT_TARGET = "127.0.0.1:8600"  # where `sightline relay` listens
ATTEMPT_TIMEOUT_S = 5.0  # one attempt to connect; a black-holed address never answers
MAX_UNREAD = 1024  # results and frames that may pile up before the source is made to wait


class DetectionStream:
    """Streams a source's frames to a relay (or through any transport) and gives one Result per frame.

    Frames of a live source never queue: the newest one waits for a place in the window, the one before it is
    dropped (source_overrun, or unsent while there is no connection). Frames of a source that is not live
    (a file) all wait their turn, and hold the source back. If the connection breaks, frames that were sent
    are dropped (disconnected), and the stream connects again by itself.

    Every captured frame gets exactly one Result: `account.balanced` holds once the iterator has ended.
    The results of a caller who is slow to take them hold the window, so only his own stream slows down.

        with DetectionStream(source, "127.0.0.1:8600") as stream:
            for result in stream: ...

    `target`: the relay's host:port, or a Transport (`client.direct.DirectTransport` for a TF Serving).
    Raises from the iterator, after the last result: what the source raised; `Unreachable` (see
    StreamConfig.connect_timeout_s); `WrongService` if the target does not speak the protocol.
    """

    def __init__(
        self, source: Source, target: str | Transport = DEFAULT_TARGET, config: StreamConfig | None = None
    ) -> None:
        if isinstance(target, str):
            from client.relayed import RelayTransport

            target = RelayTransport(target)
        self.config = config or StreamConfig()
        self.reconnects = 0  # connections made after the first
        self._source, self._transport = source, target
        self._wait = not source.live
        self._cond = threading.Condition()
        self._ledger = Ledger(target.remainder_stage)
        self._waiting: Entry | None = None  # the frame that will be sent next
        self._in_flight: dict[int, Entry] = {}
        self._held = 0  # places of the window taken: sent, and its Result not yet taken by the caller
        self._link: _Link | None = None
        self._source_done = self._stopping = self._ended = self._answered_once = False
        self._error: Exception | None = None
        self._wake_async: Callable[[], object] | None = None
        self._backoff = Backoff(self.config.backoff_min_s, self.config.backoff_max_s)
        self._gone_since_s = time.monotonic()
        self._threads = [
            threading.Thread(target=run, name=f"{name} {source.camera_id}", daemon=True)
            for name, run in (("capture", self._capture), ("send", self._send))
        ]
        for thread in self._threads:
            thread.start()

    # --- the caller's side -------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        with self._cond:
            self._cond.wait_for(lambda: self._ledger.has_result or self._ended)
            if not self._ledger.has_result:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            was_sent, result = self._ledger.take_result()
            self._held -= was_sent
            self._cond.notify_all()
            return result

    async def __aiter__(self) -> AsyncIterator[Result]:
        """The same results for an asyncio program. Leaving the loop early stops the stream."""
        loop, fresh = asyncio.get_running_loop(), asyncio.Event()
        self._wake_async = lambda: loop.call_soon_threadsafe(fresh.set)
        try:
            while True:
                fresh.clear()
                if not (self._ledger.has_result or self._ended):
                    await fresh.wait()
                elif (result := next(self, None)) is not None:
                    yield result
                else:
                    return
        finally:
            self._wake_async = None
            self.stop()

    @property
    def account(self) -> Account:
        """What became of the frames so far."""
        return self._ledger.account

    @property
    def connected(self) -> bool:
        """Whether frames can be sent now."""
        return self._link is not None and self._link.state == "ready"

    def stop(self) -> None:
        """Take no more frames, and return at once (from a signal handler too). The iterator ends after the last
        result: frames that were sent get `drain_s` to be answered, the others are dropped{shutdown}."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()

    def close(self) -> None:
        """`stop`, and wait until every frame is accounted for. Results not yet taken stay to be taken."""
        self.stop()
        self._threads[1].join()
        self._threads[0].join(timeout=1)  # a source may block in a read; its thread is a daemon then

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    # --- capture thread ----------------------------------------------------------------------------------
    def _capture(self) -> None:
        try:
            for seq, frame in enumerate(self._source.frames()):
                if not self._take_in(Entry(frame, seq)):
                    break
        except Exception as error:  # whatever the source raises is the caller's to see
            self._error = self._error or error
        finally:
            with self._cond:
                self._source_done = True
                self._cond.notify_all()

    def _take_in(self, entry: Entry) -> bool:
        """Count a captured frame and put it where the sender finds it; False once the stream is stopping."""
        with self._cond:
            if self._stopping or self._ended:
                return False
            self._ledger.take_in(entry)
            if self._wait:
                self._cond.wait_for(lambda: self._waiting is None or self._stopping or self._ended)
                if self._stopping or self._ended:
                    self._settle(entry, Answer.dropped(DropReason.SHUTDOWN))
                    return False
            elif self._waiting is not None:
                reason = DropReason.SOURCE_OVERRUN if self.connected else DropReason.UNSENT
                self._settle(self._waiting, Answer.dropped(reason))
            self._waiting = entry
            self._cond.notify_all()
            self._cond.wait_for(lambda: len(self._ledger) < MAX_UNREAD or self._stopping or self._ended)
            return True

    # --- send thread -------------------------------------------------------------------------------------
    def _send(self) -> None:
        """Connect, feed the connection, and again, until there is nothing left to send."""
        try:
            while (opened := self._connect()) is not None:
                connection, link = opened
                try:
                    self._feed(connection, link)
                finally:
                    connection.close()
                    link.broken("closed")
        except Exception as error:  # ours or a bug: nobody may wait for ever for this thread
            self._error = self._error or error
        finally:
            self._end()

    def _nothing_left(self) -> bool:
        return self._stopping or (self._source_done and self._waiting is None)

    def _connect_decided(self, link: _Link) -> bool:
        return link.state != "connecting" or self._nothing_left()

    def _connect(self) -> tuple[Connection, _Link] | None:
        """A connection that is ready, or None if there is nothing left to send. Raises when it gives up."""
        while True:
            with self._cond:
                if self._nothing_left():
                    return None
                link = self._link = _Link(self)
            connection = self._transport.open(link)
            with self._cond:
                self._cond.wait_for(functools.partial(self._connect_decided, link), ATTEMPT_TIMEOUT_S)
                if link.state == "ready":
                    self.reconnects += self._answered_once
                    return connection, link
            connection.close()
            self._give_up_or_pause(link)

    def _give_up_or_pause(self, link: _Link) -> None:
        """After a failed connection: raise if it is time to, else wait a little, longer each time."""
        if link.wrong_service:
            raise WrongService(f"{self._transport.target}: {link.message}")
        limit_s = self.config.connect_timeout_s
        gone_s = time.monotonic() - self._gone_since_s
        with self._cond:
            # A camera's last frame: no fresher one will come, so do not wait for the other end.
            over = self._source_done and not self._wait and self._waiting is not None
            wanted = self._wait or not self._answered_once
            if limit_s is not None and wanted and (over or gone_s >= limit_s):
                why = link.message or "no answer"
                raise Unreachable(f"{self._transport.target}: nobody answers there ({why}); is it running?")
            if over:
                self._drop_waiting(DropReason.UNSENT)
            self._cond.wait_for(self._nothing_left, timeout=self._backoff.next_s())

    def _feed(self, connection: Connection, link: _Link) -> None:
        """Send frames as the window allows until the link breaks or nothing is left; then wait for the answers."""
        while True:
            with self._cond:
                self._cond.wait_for(
                    lambda: link.state == "broken" or self._nothing_left()
                    or (self._waiting is not None and self._held < self.config.window)
                )  # fmt: skip
                if link.state == "broken" or self._nothing_left():
                    break
                entry, self._waiting = self._waiting, None
                assert entry is not None
                self._held += 1
                entry.sent = True
                entry.taken_s = time.monotonic()
                self._cond.notify_all()
            self._encode_and_send(entry, connection, link)
        connection.finish()
        with self._cond:
            self._cond.wait_for(lambda: self._drained(link) or self._stopping)
            self._cond.wait_for(lambda: self._drained(link), self.config.drain_s)
        if link.state == "broken":
            self._give_up_or_pause(link)

    def _drained(self, link: _Link) -> bool:
        return link.state == "broken" or not self._in_flight

    def _encode_and_send(self, entry: Entry, connection: Connection, link: _Link) -> None:
        frame, max_age_s = entry.frame, self.config.max_age_s
        if max_age_s and entry.taken_s - frame.captured_s >= max_age_s:
            return self._settle_now(entry, Answer.dropped(DropReason.EXPIRED))
        try:
            image = (
                frame.jpeg
                if frame.jpeg is not None
                else encode_jpeg(frame.image_bgr, self.config.jpeg_quality, self.config.max_side_px)
            )
        except ValueError as error:
            return self._settle_now(entry, Answer.errored("INVALID_ARGUMENT", str(error)))
        entry.encoded_s = time.monotonic()
        if max_age_s and entry.encoded_s - frame.captured_s >= max_age_s:
            return self._settle_now(entry, Answer.dropped(DropReason.EXPIRED))
        with self._cond:
            if link.state == "broken":
                self._settle(entry, Answer.dropped(DropReason.DISCONNECTED))
                return None
            self._in_flight[entry.seq] = entry
        connection.send(
            Outgoing(
                entry.seq, frame.camera_id, frame.frame_id, frame.captured_s, frame.captured_unix_ns,
                max_age_s, self._wait, image,
            )
        )  # fmt: skip
        return None

    def _end(self) -> None:
        """The last act of the stream: every frame that has no answer gets one."""
        self._source.close()
        gave_up = isinstance(self._error, ClientError)
        with self._cond:
            self._drop_waiting(DropReason.UNSENT if gave_up else DropReason.SHUTDOWN)
            self._drop_in_flight(DropReason.SHUTDOWN)
            self._ledger.settle_all(Answer.dropped(DropReason.SHUTDOWN))  # what the capture thread holds
            self._link = None
            self._ended = True
            self._changed()

    # --- with the condition held --------------------------------------------------------------------------
    def _settle_now(self, entry: Entry, answer: Answer) -> None:
        with self._cond:
            self._settle(entry, answer)

    def _drop_waiting(self, reason: DropReason) -> None:
        if self._waiting is not None:
            entry, self._waiting = self._waiting, None
            self._settle(entry, Answer.dropped(reason))

    def _drop_in_flight(self, reason: DropReason) -> None:
        entries, self._in_flight = list(self._in_flight.values()), {}
        for entry in entries:
            self._settle(entry, Answer.dropped(reason))

    def _settle(self, entry: Entry, answer: Answer) -> None:
        self._ledger.settle(entry, answer)
        self._changed()

    def _changed(self) -> None:
        self._cond.notify_all()
        if (wake := self._wake_async) is not None:
            with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody waits there
                wake()


class _Link:
    """What one connection reports; a link that broke, or was replaced, is heard no more."""

    def __init__(self, stream: DetectionStream) -> None:
        self._stream = stream
        self.state = "connecting"  # then ready, then broken
        self.message = ""
        self.wrong_service = False

    def ready(self) -> None:
        with self._stream._cond:
            if self.state == "connecting":
                self.state = "ready"
                self._stream._cond.notify_all()

    def answered(self, seq: int, answer: Answer) -> None:
        stream = self._stream
        with stream._cond:
            entry = stream._in_flight.pop(seq, None) if self.state == "ready" else None
            if entry is not None:
                stream._answered_once = True
                stream._backoff.reset()
                stream._settle(entry, answer)

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        stream = self._stream
        with stream._cond:
            if self.state == "broken":
                return
            if self.state == "ready" and stream._answered_once:
                stream._gone_since_s = time.monotonic()
            self.state, self.message, self.wrong_service = "broken", message, wrong_service
            reason = DropReason.SHUTDOWN if stream._stopping else DropReason.DISCONNECTED
            stream._drop_in_flight(reason)
            stream._cond.notify_all()


__all__ = ["DEFAULT_TARGET", "DetectionStream", "StreamConfig"]
