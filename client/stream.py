"""A camera's frames in, one result for each of them out, in the order of capture.

Three threads per stream: one reads the source, one connects, encodes and sends, and one of the transport's
reports answers. All state lies behind one condition; the caller's iterator takes the finished results.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from client.age_control import AgeControl
from client.ledger import Entry
from client.sender import ReportingSource, Sender
from client.stream_async import AsyncResults, take
from client.stream_config import StreamConfig
from client.stream_exit import end_at_exit
from client.stream_state import StreamState
from client.transport import Answer, Transport
from client.types import Account, DropReason, Result, Source, check_frame

DEFAULT_TARGET = "127.0.0.1:8600"  # where `sightline relay` listens
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

    In a coroutine: `async with`, which closes without blocking the event loop, and `async for` or `anext(stream)`.

    `target`: the relay's host:port, or a Transport (`client.direct.DirectTransport` for a TF Serving).
    Raises `TransportError` at once if that is no host:port. Raises from the iterator, after the last result: what the
    source raised; `Unreachable`, `Refused` or another `TransportError` (see StreamConfig.connect_timeout_s);
    `WrongService` if the target does not speak the protocol.
    """

    def __init__(
        self, source: Source, target: str | Transport = DEFAULT_TARGET, config: StreamConfig | None = None
    ) -> None:
        if isinstance(source, str):
            raise TypeError("source: expected a Source, got a text; client.open_source makes one of it")
        if isinstance(target, str):
            from client.relayed import RelayTransport

            target = RelayTransport(target)
        self.config = config or StreamConfig()
        self._source = source
        control = self.config.control_for(live=source.live, priority=getattr(target, "priority", 1))
        self._state = StreamState(target.remainder_stage, control, self.config.max_age_s)
        reporting = source if isinstance(source, ReportingSource) else None
        if reporting is not None:
            self._state.retry_source = reporting.retry_now
            reporting.changed = self._source_changed
        self._sender = Sender(self._state, target, self.config, source, reporting)
        self._capture_thread = self._thread("capture", self._capture)
        self._send_thread = self._thread("send", self._send)
        end_at_exit(self)

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=run, name=f"{name} {self._source.camera_id}", daemon=True)
        thread.start()
        return thread

    # --- the caller's side -------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        state = self._state
        with state.cond:
            state.cond.wait_for(lambda: state.readable)
            result = state.take()
        if result is None:
            raise StopIteration
        return result

    def __aiter__(self) -> AsyncResults:
        """The same results for an asyncio program. Leaving the loop early stops the stream."""
        return AsyncResults(self)

    async def __anext__(self) -> Result:
        """The next result. May be cancelled, by a timeout for one: no result is lost, and the stream goes on."""
        result = await take(self._state)
        if result is None:
            raise StopAsyncIteration
        return result

    @property
    def account(self) -> Account:
        """What became of the frames up to this moment."""
        account = Account()
        with self._state.cond:
            account.merge(self._state.ledger.account)
        return account

    @property
    def connected(self) -> bool:
        """Whether frames can be sent now."""
        return self._state.connected

    @property
    def control(self) -> AgeControl:
        """What holds its results' age: `window` frames in flight, `detail` of a picture's bytes (0..1)."""
        return self._state.control

    @property
    def state(self) -> str:
        """What the connection is: streaming, connecting, or backing off until the next attempt."""
        return "streaming" if self.connected else "backing off" if self._sender.pausing else "connecting"

    @property
    def problem(self) -> str:
        """Why there is no connection, in a line: `refused: CODE: ...`, `no answer: ...`; empty while there is one."""
        return "" if self.connected else self._sender.problem  # who sends may not have taken note yet

    @property
    def reconnects(self) -> int:
        """Connections made after the first that worked."""
        return self._sender.reconnects

    @property
    def source_reconnects(self) -> int:
        """Times that the source gave frames again after it had gone away."""
        return int(getattr(self._source, "reconnects", 0))

    def retry_now(self) -> None:
        """Try again at once whatever is waited for: the source, or the other end."""
        self._state.retry_source()
        with self._state.cond:
            self._state.hurry = True
            self._state.changed()

    def stop(self) -> None:
        """Take no more frames, and return at once (from a signal handler too). The iterator ends after the last
        result: frames that were sent get `drain_s` to be answered, the others are dropped{shutdown}."""
        with self._state.cond:
            self._state.stopping = True
            self._state.changed()

    def close(self) -> None:
        """`stop`, and wait until every frame is accounted for. Results not yet taken stay to be taken."""
        self.stop()
        self._send_thread.join()
        self._capture_thread.join(timeout=1)  # a source may block in a read; its thread is a daemon then

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.stop()  # at once, whatever other threads there is to wait for
        await asyncio.to_thread(self.close)

    def leave(self) -> list[threading.Thread]:
        """`stop`, and the source with it; the threads that are still at work."""
        if self._send_thread.is_alive():  # in a forked process it is not, and the lock may be held for ever
            self.stop()
            self._source.close()
        return [thread for thread in (self._capture_thread, self._send_thread) if thread.is_alive()]

    def _source_changed(self) -> None:
        with self._state.cond:
            self._state.changed()

    # --- threads -----------------------------------------------------------------------------------------
    def _capture(self) -> None:
        state = self._state
        try:
            for seq, frame in enumerate(self._source.frames()):
                entry = Entry(check_frame(frame), seq)
                with state.cond:
                    if not self._take_in(entry):
                        break
        except Exception as error:  # whatever the source raises is the caller's to see
            state.fail(error)
        finally:
            with state.cond:
                state.source_done = True
                state.changed()

    def _take_in(self, entry: Entry) -> bool:
        """Count a captured frame and put it where the sender finds it; False once the stream is over."""
        state = self._state

        def over() -> bool:
            return state.stopping or state.ended

        if over():
            return False
        state.ledger.take_in(entry)
        if not self._source.live:
            state.cond.wait_for(lambda: state.waiting is None or over())
            if over():
                state.settle(entry, Answer.dropped(DropReason.SHUTDOWN))
                return False
        if state.waiting is not None and state.held >= state.control.window:
            state.control.held_back()
        state.drop_waiting(DropReason.SOURCE_OVERRUN if state.connected else DropReason.UNSENT)
        state.waiting = entry
        state.changed()
        state.cond.wait_for(lambda: len(state.ledger) < MAX_UNREAD or over())
        return True

    def _send(self) -> None:
        state = self._state
        try:
            self._sender.run()
        except Exception as error:  # ours or a bug: nobody may wait for ever for this thread
            state.fail(error)
        finally:
            try:
                self._source.close()
            except Exception as error:
                state.fail(error)
            with state.cond:
                state.end()


__all__ = ["DEFAULT_TARGET", "DetectionStream", "StreamConfig"]
