"""The seam between a detection stream and what carries its frames.

A transport opens connections; a connection takes encoded frames and reports to its listener. Tests put an
in-memory transport here; `client.relayed` goes to a relay, `client.direct` to a model server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from client.types import Detections, DropReason, Status


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One encoded frame on its way out. `seq` is the stream's own number for it: it rises by one a frame."""

    seq: int
    camera_id: str
    frame_id: int
    captured_s: float  # time.monotonic()
    captured_unix_ns: int
    max_age_s: float  # 0: no limit
    wait: bool  # True: it waits for its turn; False: a fresher frame may take its place
    image: bytes  # JPEG or PNG


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the other end said about one frame; exactly one of `detections`, `reason`, `error` is set."""

    status: Status
    detections: Detections | None = None
    reason: DropReason | str | None = None
    error: str | None = None  # "CODE: message"
    model_name: str = ""
    model_version: int = 0
    stages_ms: dict[str, float] = field(default_factory=dict)  # as far as the other end knows them
    received_s: float = 0.0  # time.monotonic() when it was here, not taken apart; 0: nothing came

    @classmethod
    def dropped(cls, reason: DropReason | str) -> Answer:
        """The frame was dropped."""
        return cls(Status.DROPPED, reason=reason)

    @classmethod
    def errored(cls, code: str, message: str) -> Answer:
        """The frame failed with a gRPC status code's name, such as INVALID_ARGUMENT."""
        return cls(Status.ERRORED, error=f"{code}: {message}")


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How a camera's source is: `state` (connecting, streaming, stalled, backing off, failed), why it failed, and
    when it backs off, the seconds until the next attempt."""

    state: str
    problem: str = ""
    retry_s: float = 0.0


class Listener(Protocol):
    """What a connection reports to. Callable from any thread; must not block."""

    def ready(self) -> None:
        """The other end is there; frames may be sent."""

    def answered(self, seq: int, answer: Answer) -> None:
        """One frame's answer. Answers may come in any order."""

    def retry(self) -> None:
        """Somebody at the other end wants the source to be tried again now."""

    def closing(self) -> None:
        """The other end is about to stop: it answers what was sent, and takes no more."""

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        """The connection is lost: no more answers will come. `wrong_service`: trying again is useless."""


class Connection(Protocol):
    """One connection. After `broken` was reported, calls do nothing."""

    def send(self, frame: Outgoing) -> None:
        """Send one frame; returns without waiting for its answer."""

    def report(self, camera_id: str, report: SourceReport) -> None:
        """Tell how the source is now."""

    def finish(self) -> None:
        """No more frames will be sent; answers may still come."""

    def close(self) -> None:
        """Give the connection up. Outstanding answers will not be reported."""


class Transport(Protocol):
    """Opens connections to one target."""

    @property
    def target(self) -> str:
        """host:port, for messages."""

    @property
    def remainder_stage(self) -> str:
        """The stage that takes what is left of a result's age when all measured stages are subtracted."""

    def open(self, listener: Listener) -> Connection:
        """Start a connection; returns at once, the listener hears `ready` or `broken`."""
