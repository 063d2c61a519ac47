"""A camera's frames in, one result for each of them out, in the order of capture.

Three threads per stream: one reads the source, one connects, encodes and sends, and one of the transport's
reports answers. All state lies behind one condition; the caller's iterator takes the finished results.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from client.backoff import Backoff
from client.encode import encode_jpeg
from client.errors import ClientError, Unreachable, WrongService
from client.transport import Answer, Connection, Outgoing, Transport
from client.types import Account, DropReason, Frame, Result, Source, Status

DEFAULT_TARGET = "127.0.0.1:8600"  # where `sightline relay` listens
ATTEMPT_TIMEOUT_S = 5.0  # one attempt to connect; a black-holed address never answers
MAX_UNREAD = 1024  # results and frames that may pile up before the source is made to wait


@dataclass(frozen=True)
class StreamConfig:
    """How a stream treats its frames.

    `max_age_s`: a frame older than this (seconds since capture) is dropped as expired wherever it is; 0: no limit.
    `jpeg_quality`: 1 to 100. `max_side_px`: a picture whose longer side is above this is sent scaled down to it
    (boxes are relative, so they stay true); 0: as it is. Encoded files are sent as they are.
    `window`: frames that may be sent and not yet answered and taken; 3 keeps a relay that runs 2 Predicts per
    camera busy and the results fresh.
    `connect_timeout_s`: the stream raises Unreachable if nobody answers for so long: at the start, and for a
    source that is not live at any time; None: it tries for ever.
    `drain_s`: how long `stop` waits for the answers of frames that were sent.
    `backoff_min_s`, `backoff_max_s`: bounds of the exponential pause between attempts to connect (with jitter).
    """

    max_age_s: float = 0.2
    jpeg_quality: int = 85
    max_side_px: int = 0
    window: int = 3
    connect_timeout_s: float | None = 10.0
    drain_s: float = 2.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 5.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_age_s", 0, 3600), ("jpeg_quality", 1, 100), ("max_side_px", 0, 65535),
            ("window", 1, 256), ("drain_s", 0, 3600),
            ("backoff_min_s", 0.001, 3600), ("backoff_max_s", self.backoff_min_s, 3600),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {value}")
        if self.connect_timeout_s is not None and self.connect_timeout_s <= 0:
            raise ValueError(f"connect_timeout_s: expected more than 0 or None, got {self.connect_timeout_s}")


@dataclass(slots=True, eq=False)
class _Entry:
    """One captured frame on its way through the stream."""

    frame: Frame
    seq: int
    taken_s: float = 0.0  # when it was taken to be encoded; 0: never
    encoded_s: float = 0.0
    sent: bool = False
    answer: Answer | None = None


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
        self.account = Account()
        self.reconnects = 0  # connections made after the first
        self._source, self._transport = source, target
        self._wait = not source.live
        self._cond = threading.Condition()
        self._ledger: deque[_Entry] = deque()  # frames whose Result is not out yet, in order of capture
        self._waiting: _Entry | None = None  # the frame that will be sent next
        self._in_flight: dict[int, _Entry] = {}
        self._held = 0  # places of the window taken: sent, and its Result not yet taken by the caller
        self._results: deque[tuple[bool, Result]] = deque()  # (it holds a place of the window, result)
        self._link: _Link | None = None
        self._source_done = self._stopping = self._ended = self._answered_once = False
        self._error: Exception | None = None
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
            self._cond.wait_for(lambda: self._results or self._ended)
            if not self._results:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            holds_place, result = self._results.popleft()
            self._held -= holds_place
            self._cond.notify_all()
            return result

    async def __aiter__(self) -> AsyncIterator[Result]:
        """The same results for an asyncio program; a thread waits for each."""
        try:
            while (result := await asyncio.to_thread(next, self, None)) is not None:
                yield result
        finally:
            self.stop()  # so that a thread left waiting by a cancelled `async for` comes back

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
                if not self._take_in(_Entry(frame, seq)):
                    break
        except Exception as error:  # whatever the source raises is the caller's to see
            self._error = self._error or error
        finally:
            with self._cond:
                self._source_done = True
                self._cond.notify_all()

    def _take_in(self, entry: _Entry) -> bool:
        """Count a captured frame and put it where the sender finds it; False once the stream is stopping."""
        with self._cond:
            if self._stopping or self._ended:
                return False
            self.account.captured += 1
            self._ledger.append(entry)
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
            self._cond.wait_for(
                lambda: len(self._ledger) + len(self._results) < MAX_UNREAD or self._stopping or self._ended
            )
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

    def _connect(self) -> tuple[Connection, _Link] | None:
        """A connection that is ready, or None if there is nothing left to send. Raises when it gives up."""
        while True:
            with self._cond:
                if self._nothing_left():
                    return None
                link = self._link = _Link(self)
            connection = self._transport.open(link)
            with self._cond:
                self._cond.wait_for(
                    lambda link=link: link.state != "connecting" or self._nothing_left(), ATTEMPT_TIMEOUT_S
                )
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
            done = lambda: link.state == "broken" or not self._in_flight  # noqa: E731
            self._cond.wait_for(lambda: done() or self._stopping)
            self._cond.wait_for(done, timeout=self.config.drain_s)
        if link.state == "broken":
            self._give_up_or_pause(link)

    def _encode_and_send(self, entry: _Entry, connection: Connection, link: _Link) -> None:
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
            for entry in list(self._ledger):  # a capture thread that is about to see that we end
                if entry.answer is None:
                    self._settle(entry, Answer.dropped(DropReason.SHUTDOWN))
            self._link = None
            self._ended = True
            self._cond.notify_all()

    # --- with the condition held --------------------------------------------------------------------------
    def _settle_now(self, entry: _Entry, answer: Answer) -> None:
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

    def _settle(self, entry: _Entry, answer: Answer) -> None:
        """Record a frame's fate, and give out the results that this one held back."""
        if entry.answer is not None:
            return
        entry.answer = answer
        if not entry.sent:  # these may pile up by the hundred: do not keep their pictures
            entry.frame = replace(entry.frame, image_bgr=None, jpeg=None)
        while self._ledger and (settled := self._ledger[0].answer) is not None:
            ready = self._ledger.popleft()
            result = self._result(ready, settled)
            self.account.add(result)
            self._results.append((ready.sent, result))
        self._cond.notify_all()

    def _result(self, entry: _Entry, answer: Answer) -> Result:
        captured_s, now_s = entry.frame.captured_s, time.monotonic()
        stages_s = {"wait": (entry.taken_s or now_s) - captured_s}
        if entry.taken_s:
            stages_s["encode"] = (entry.encoded_s or now_s) - entry.taken_s
        stages_ms = {name: seconds * 1e3 for name, seconds in stages_s.items()} | answer.stages_ms
        age_s = now_s - captured_s
        if entry.encoded_s:
            stages_ms[self._transport.remainder_stage] = max(0.0, age_s * 1e3 - sum(stages_ms.values()))
        return Result(
            entry.frame, answer.status, age_s, answer.detections, answer.reason, answer.error,
            answer.model_name, answer.model_version, stages_ms,
        )  # fmt: skip


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


__all__ = ["DEFAULT_TARGET", "DetectionStream", "Status", "StreamConfig"]
