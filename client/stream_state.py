"""What the threads of one detection stream share, and what one of its connections reports."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from enum import Enum

from client.age_control import AgeControl, Trip
from client.ledger import Entry, Ledger
from client.transport import Answer
from client.types import DropReason, Result, Status

CLOSING_S = 5.0  # for a relay that stops to end a stream whose frames it has answered


class StreamState:
    """All that changes in a stream. Methods and attributes are for who holds `cond`."""

    def __init__(self, remainder_stage: str, control: AgeControl, max_age_s: float) -> None:
        self.cond = threading.Condition()
        self.control = control
        self.ledger = Ledger(remainder_stage, max_age_s)
        self.waiting: Entry | None = None  # the frame that will be sent next
        self.in_flight: dict[int, Entry] = {}
        self.held = 0  # places of the window taken: sent, and its Result not yet taken by the caller
        self.link: Link | None = None
        self.answered_once = False
        self.gone_since_s = (
            time.monotonic()
        )  # when the other end was last there; at first, when the stream began
        self.source_done = False
        self.stopping = False
        self.unheard_s = 0.0  # since when frames go out without a word from the other end; 0: it owes none
        self.hurry = False  # whoever pauses before the next attempt to connect shall go on
        self.ended = False
        self.error: Exception | None = None
        self.wakes: set[Callable[[], object]] = set()  # of asyncio programs that wait for a result
        self.retry_source: Callable[[], object] = lambda: None

    @property
    def nothing_left(self) -> bool:
        """Whether there is nothing more to send, now and later."""
        return self.stopping or (self.source_done and self.waiting is None)

    @property
    def connected(self) -> bool:
        """Whether frames can be sent now."""
        return self.link is not None and self.link.phase is Phase.READY

    @property
    def readable(self) -> bool:
        """Whether `take` has something to tell: a result, or that no more will come."""
        return self.ledger.has_result or self.ended

    def take(self) -> Result | None:
        """The next result, where it is `readable`; None at the end.

        Raises:
            what ended the stream, once.
        """
        if self.ledger.has_result:
            was_sent, result = self.ledger.take_result()
            self.held -= was_sent
            self.changed()
            return result
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return None

    def put_in_flight(self, entry: Entry) -> None:
        """A frame goes out."""
        self.in_flight[entry.seq] = entry
        self.unheard_s = self.unheard_s or entry.encoded_s
        self.control.sent(entry.seq)

    def settle(self, entry: Entry, answer: Answer) -> None:
        """One frame's fate."""
        self.ledger.settle(entry, answer)
        self.changed()

    def settle_sent(self, entry: Entry, answer: Answer) -> None:
        """The fate of a frame that was sent, as the other end or the connection tells it."""
        now_s = time.monotonic()
        theirs_s = sum(answer.stages_ms.values()) / 1e3
        trip = Trip(
            entry.seq,
            age_s=now_s - entry.frame.captured_s,
            own_s=now_s - entry.taken_s - theirs_s,
            theirs_s=theirs_s,
            status=answer.status,
            reason=str(answer.reason or ""),
        )
        self.control.answered(trip, now_s)
        self.settle(entry, answer)

    def drop_waiting(self, reason: DropReason) -> None:
        """The frame that waits, if there is one, will not be sent."""
        if self.waiting is not None:
            entry, self.waiting = self.waiting, None
            self.settle(entry, Answer.dropped(reason))

    def drop_in_flight(self, reason: DropReason) -> None:
        """The frames that were sent will not be answered."""
        entries, self.in_flight = list(self.in_flight.values()), {}
        for entry in entries:
            self.settle(entry, Answer.dropped(reason))

    def fail(self, error: Exception) -> None:
        """What the caller's iterator will raise; the first error counts."""
        self.error = self.error or error

    def end(self) -> None:
        """Every frame that has no answer gets one; no result will come after this."""
        # Whoever gave up had no connection; else the stream was stopped.
        reason = DropReason.SHUTDOWN if self.stopping or self.error is None else DropReason.UNSENT
        self.drop_waiting(reason)
        self.drop_in_flight(DropReason.SHUTDOWN)
        self.ledger.settle_all(Answer.dropped(reason))  # a frame that the capture thread still holds
        self.link = None
        self.ended = True
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for something."""
        self.cond.notify_all()
        for wake in self.wakes:
            with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody waits there
                wake()


def lost_trip(entry: Entry, now_s: float) -> Trip:
    """The trip of a frame that got lost on a network that is too slow or gone."""
    age_s = now_s - entry.frame.captured_s
    return Trip(entry.seq, age_s, age_s, 0.0, Status.DROPPED, DropReason.EXPIRED)


class Phase(Enum):
    """The life of a connection."""

    CONNECTING = 1
    READY = 2
    BROKEN = 3


class Link:
    """The listener of one connection. After `broken` it is heard no more, so late answers change nothing."""

    def __init__(self, state: StreamState) -> None:
        self._state = state
        self.phase = Phase.CONNECTING
        self.was_ready = False
        self.message = ""
        self.wrong_service = False
        self.answered_any = False
        self.silent = False  # that is why it is broken
        self.closing_s = 0.0  # when it said that it takes no more frames

    @property
    def is_broken(self) -> bool:
        """Whether the connection is lost."""
        return self.phase is Phase.BROKEN

    @property
    def is_closing(self) -> bool:
        """Whether the other end takes no more frames."""
        return self.closing_s > 0

    def ready(self) -> None:
        """The other end is there."""
        with self._state.cond:
            if self.phase is Phase.CONNECTING:
                self.phase, self.was_ready, self._state.unheard_s = Phase.READY, True, 0.0
                self._state.changed()

    def answered(self, seq: int, answer: Answer) -> None:
        """One frame's answer, unless it was settled otherwise."""
        with self._state.cond:
            entry = self._state.in_flight.pop(seq, None) if self.phase is Phase.READY else None
            if entry is not None:
                self._state.answered_once = True
                if answer.received_s:  # else it came to its end here, without a word from there
                    self._state.unheard_s = time.monotonic() if self._state.in_flight else 0.0
                    self.answered_any = True
                self._state.settle_sent(entry, answer)

    def check(self, silence_s: float) -> None:
        """Give the connection up if frames went out for so long and nothing was heard, or if the other end said that it
        stops, has answered everything, and does not."""
        with self._state.cond:
            now_s, unheard_s = time.monotonic(), self._state.unheard_s
            silent_s = now_s - unheard_s if unheard_s else 0.0
            if self.closing_s and not self._state.in_flight and now_s - self.closing_s > CLOSING_S:
                self.broken("it said that it stops, and did not")
            elif silent_s > silence_s:
                self.silent = True
                for entry in self._state.in_flight.values():
                    self._state.control.answered(lost_trip(entry, now_s), now_s)
                self.broken(f"no answer for {silent_s:.0f} s")

    def retry(self) -> None:
        """Somebody at the other end wants the source to be tried again now."""
        self._state.retry_source()

    def closing(self) -> None:
        """The other end is about to stop."""
        with self._state.cond:
            self.closing_s = self.closing_s or time.monotonic()
            self._state.changed()

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        """The connection is lost, and with it the frames that were sent."""
        with self._state.cond:
            if self.is_broken:
                return
            self.phase, self.message, self.wrong_service = Phase.BROKEN, message, wrong_service
            if self.answered_any:
                self._state.gone_since_s = time.monotonic()
            stopping = self._state.stopping
            self._state.drop_in_flight(DropReason.SHUTDOWN if stopping else DropReason.DISCONNECTED)
            self._state.changed()
