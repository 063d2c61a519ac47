"""The sending half of a detection stream: connects, encodes, keeps the window, and connects again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

from client.backoff import Backoff
from client.channel import explained
from client.encode import encode_jpeg
from client.errors import Refused, TransportError, Unreachable, WrongService
from client.ledger import Entry
from client.stream_config import StreamConfig
from client.stream_state import Link, Phase, StreamState
from client.transport import Answer, Connection, Outgoing, SourceReport, Transport
from client.types import DropReason, Frame, Source

ATTEMPT_TIMEOUT_S = 5.0  # one attempt to connect; a black-holed address never answers
LOOK_EVERY_S = 0.5  # at what nobody tells: a source's state, a silence
SAME_S = 0.1  # by which two tellings of one moment differ
# Whoever answers each frame within its max age, and is silent for so much longer, is not there any more, whatever TCP
# thinks. Doubled as long as no connection brings an answer: the network may be that slow.
SILENCE_S, SILENT_MAX_AGES, LONGEST_SILENCE_S = 3.0, 4, 30.0  # the last also where frames have no max age
MAX_PROBLEM = 300  # letters of an error


@runtime_checkable
class ReportingSource(Protocol):
    """A source that may go away and come back. `changed` is called when `report` may say something else."""

    changed: Callable[[], None]

    def report(self) -> SourceReport:
        """How it is now."""

    def retry_now(self) -> None:
        """Try again now, if it is waiting to."""


class Sender:
    """Runs on a thread of its own until there is nothing left to send. `reporting`: the source, if it tells how it is.

    Raises from `run`: a TransportError (see DetectionStream).
    """

    def __init__(
        self,
        state: StreamState,
        transport: Transport,
        config: StreamConfig,
        source: Source,
        reporting: ReportingSource | None,
    ) -> None:
        self._state, self._transport, self._config = state, transport, config
        self._camera_id, self._live, self._reporting = source.camera_id, source.live, reporting
        self._told = ""  # the source's state that the other end knows
        self._told_retry_s = 0.0  # and when it said that it tries again, time.monotonic()
        self._backoff = Backoff(config.backoff_min_s, config.backoff_max_s)
        self._silence_s = self._first_silence_s
        self.reconnects = 0
        self.pausing = False  # until the next attempt to connect
        self.problem = ""  # why there is no connection; empty while there is one

    def run(self) -> None:
        """Connect, feed the connection, and again, until there is nothing left to send."""
        while (opened := self._connect()) is not None:
            connection, link = opened
            try:
                self._feed(connection, link)
                self._drain(connection, link)
            finally:
                connection.close()
                lost = link.is_broken
                link.broken("closed")
            if link.answered_any:
                self._backoff.reset()
                self._silence_s = self._first_silence_s
            elif link.silent:
                self._silence_s = min(LONGEST_SILENCE_S, 2 * self._silence_s)
            if lost:
                self._give_up_or_pause(self._failure(link))

    @property
    def _first_silence_s(self) -> float:
        max_age_s = self._config.max_age_s
        return max(SILENCE_S, SILENT_MAX_AGES * max_age_s) if max_age_s else LONGEST_SILENCE_S

    def _connect(self) -> tuple[Connection, Link] | None:
        """A connection that is ready, or None if there is nothing left to send. Raises when it gives up."""
        state = self._state
        while True:
            with state.cond:
                if state.nothing_left:
                    return None
                link = state.link = Link(state)
            try:
                connection = self._transport.open(link)
            except (
                OSError,
                ValueError,
            ) as error:  # a token's file, for one, which may be there the next time
                reason = " ".join(f"cannot connect: {error}".split())
                self._give_up_or_pause(TransportError(self._transport.target, reason))
                continue
            with state.cond:
                state.cond.wait_for(partial(self._decided, link), ATTEMPT_TIMEOUT_S)
                if link.phase is Phase.READY:
                    self.reconnects += state.answered_once
                    self.problem = ""
                    return connection, link
            connection.close()
            link.broken(f"nothing came within {ATTEMPT_TIMEOUT_S:g} s")
            self._give_up_or_pause(self._failure(link))

    def _decided(self, link: Link) -> bool:
        return link.phase is not Phase.CONNECTING or self._state.nothing_left

    def _failure(self, link: Link) -> TransportError:
        """Why a connection is none, or none any more."""
        target, (answered, reason) = self._transport.target, explained(link.message)
        if link.wrong_service:
            return WrongService(target, reason)
        if answered:
            return Refused(target, f"refused: {reason}")
        return Unreachable(target, f"{'connection lost' if link.was_ready else 'no answer'}: {reason}")

    def _give_up_or_pause(self, failure: TransportError) -> None:
        """After a connection failed: raise if it is time to, else wait a little, longer each time."""
        if isinstance(failure, WrongService):
            raise failure
        state, limit_s = self._state, self._config.connect_timeout_s
        with state.cond:
            if not state.nothing_left:
                self.problem = failure.reason
            gone_s = time.monotonic() - state.gone_since_s
            # A camera's last frame: no fresher one will come, so do not wait for the other end.
            over = self._live and state.source_done and state.waiting is not None
            impatient = limit_s is not None and not (self._live and state.answered_once)
            if impatient and not state.nothing_left and (over or gone_s >= (limit_s or 0)):
                raise failure
            if over:
                state.drop_waiting(DropReason.UNSENT)
            state.hurry, pause_s = False, self._backoff.next_s()
            self.pausing = True
            state.cond.wait_for(lambda: state.nothing_left or state.hurry, pause_s)
            self.pausing = False

    def _feed(self, connection: Connection, link: Link) -> None:
        """Send frames as the window allows, until the link breaks or nothing is left."""
        state = self._state
        self._told, self._told_retry_s = "streaming", 0.0

        def may_send() -> bool:
            return state.waiting is not None and state.held < state.control.window and not link.is_closing

        def decided() -> bool:
            return may_send() or link.is_broken or state.nothing_left or self._source_news() is not None

        while True:
            self._tell_source(connection)
            with state.cond:
                state.cond.wait_for(decided, LOOK_EVERY_S)
                link.check(self._silence_s)
                if link.is_broken or state.nothing_left:
                    return
                if state.waiting is None or not may_send():
                    continue
                entry, state.waiting = state.waiting, None
                state.held += 1
                entry.sent = True
                entry.taken_s = time.monotonic()
                state.changed()
            self._send(entry, connection, link)

    def _source_news(self) -> SourceReport | None:
        """What the other end should know of the source and does not: its state, or that it is tried again later."""
        if self._reporting is None:
            return None
        report = self._reporting.report()
        later = report.retry_s > 0 and time.monotonic() + report.retry_s > self._told_retry_s + SAME_S
        return report if report.state != self._told or later else None

    def _tell_source(self, connection: Connection) -> None:
        """Tell the other end how the source is, if that is news."""
        if (report := self._source_news()) is not None:
            self._told, self._told_retry_s = report.state, time.monotonic() + report.retry_s
            connection.report(self._camera_id, report)

    def _drain(self, connection: Connection, link: Link) -> None:
        """Wait for the answers of what was sent; once the stream is stopping, not for long."""
        state = self._state
        if state.error is not None:
            problem = str(state.error)[:MAX_PROBLEM] or type(state.error).__name__
            connection.report(self._camera_id, SourceReport("failed", problem))
        connection.finish()

        def drained() -> bool:
            return link.is_broken or not state.in_flight

        with state.cond:
            while not state.cond.wait_for(lambda: drained() or state.stopping, LOOK_EVERY_S):
                link.check(self._silence_s)
            state.cond.wait_for(drained, self._config.drain_s)

    def _send(self, entry: Entry, connection: Connection, link: Link) -> None:
        """Encode one frame and send it, unless it is too old before or after."""
        state, frame, config = self._state, entry.frame, self._config
        image = frame.jpeg
        early = self._expired(entry)
        if early is None and image is None:
            try:
                image = self._encode(frame)
            except ValueError as error:
                early = Answer.errored("INVALID_ARGUMENT", str(error))
            early = early or self._expired(entry)
        with state.cond:
            if link.is_broken:
                early = early or Answer.dropped(DropReason.UNSENT)
            if early is not None or image is None:
                return state.settle(entry, early or Answer.errored("INTERNAL", "no image"))
            entry.encoded_s = time.monotonic()
            state.put_in_flight(entry)
        connection.send(
            Outgoing(
                entry.seq,
                frame.camera_id,
                frame.frame_id,
                frame.captured_s,
                frame.captured_unix_ns,
                config.max_age_s,
                not self._live,
                image,
            )
        )
        return None

    def _encode(self, frame: Frame) -> bytes:
        """The picture as small as it has to be now. Raises ValueError."""
        config, image = self._config, frame.image_bgr
        longer_px = max(image.shape[:2]) if image is not None else 0
        how = self._state.control.rendition(config.jpeg_quality, longer_px, config.max_side_px)
        return encode_jpeg(image, how.quality, how.max_side_px)

    def _expired(self, entry: Entry) -> Answer | None:
        """The answer of a frame that is too old by now."""
        max_age_s = self._config.max_age_s
        if max_age_s and time.monotonic() - entry.frame.captured_s >= max_age_s:
            return Answer.dropped(DropReason.EXPIRED)
        return None
