"""A camera that sends at a fixed rate, whatever comes back (an open model), and tells what became of each frame.

Every time is counted from when a frame was *due*. A sender that waited for a late answer, or woke up late, would
otherwise leave the waiting out of its figures: coordinated omission. It runs on threads, or greenlets where they are
patched.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from client.backoff import Backoff
from client.relayed import RelayConnection, RelayTransport
from client.transport import Answer, Outgoing
from client.types import DropReason, Status

CONNECT_S = 5.0  # an attempt to connect that takes longer is given up, as in the client library
DRAIN_S = 5.0  # how long answers are waited for after the last frame
BACKOFF_S = (0.1, 5.0)
# Frames without an answer, at most: as many results as a relay keeps for a camera. A relay that takes nothing any
# more must not fill our memory with pictures.
MAX_UNANSWERED = 256
LOST = "lost"


@dataclass(slots=True)
class Seen:
    """One frame, due at `due_s` (monotonic), sent `late_s` later.

    `outcome`: delivered, dropped, errored, lost (no answer ever came), or "" while it is under way. `detail`: the
    version that served it ("v1"), the reason of the drop, or the error's code. `message`: of an error or a broken
    connection. `age_s`: from due until the outcome was known.
    """

    due_s: float
    late_s: float = 0.0
    outcome: str = ""
    detail: str = ""
    message: str = ""
    age_s: float = 0.0
    stages_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraConfig:
    """`fps` frames a second of `images` (encoded files); the relay drops those older than `max_age_s`, 0: none."""

    camera_id: str
    fps: float
    images: Sequence[bytes]
    max_age_s: float = 0.0


class PacedCamera:
    """One stream. `on_due` hears of each frame when it is due, `on_settled` when its fate is known, on any thread."""

    def __init__(
        self,
        config: CameraConfig,
        transport: RelayTransport,
        on_settled: Callable[[Seen], None],
        on_due: Callable[[Seen], None] = lambda _: None,
    ) -> None:
        self._config, self._transport = config, transport
        self._on_settled, self._on_due = on_settled, on_due
        self._stop = threading.Event()
        self._link: _Link | None = None
        self._backoff = Backoff(*BACKOFF_S)
        self._retry_s = 0.0
        self._message = ""
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=config.camera_id, daemon=True)

    def start(self) -> None:
        """Connect and begin to send: frames are due from now on, and those due before there is a connection unsent."""
        self._thread.start()

    def finish(self) -> None:
        """Send no more, wait up to 5 s for what is under way, and call the rest lost."""
        self._stop.set()
        self._thread.join()
        if self._link is not None:
            self._link.drain()

    def check(self) -> None:
        """Raise what ended the camera: a token that can't be had, for one."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._send_frames()
        except Exception as error:  # of a thread: told by `check`
            self._error = error

    def _send_frames(self) -> None:
        # Cameras are not in step; the same camera has the same phase in each run. The first frame is due whether the
        # relay is there by then or not: who waited for a slow one would leave out the very frames that it costs.
        due_s = time.monotonic() + random.Random(self._config.camera_id).random() / self._config.fps
        self._link = self._connect()
        number = 0
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            self._frame(number, due_s)
            number += 1
            due_s += 1 / self._config.fps

    def _frame(self, number: int, due_s: float) -> None:
        seen = Seen(due_s, late_s=time.monotonic() - due_s)
        self._on_due(seen)
        link = self._keep_connected()
        if link is None or len(link.unanswered) >= MAX_UNANSWERED:
            seen.message = self._message
            _settle(seen, Status.DROPPED, DropReason.UNSENT, self._on_settled)
        else:
            images = self._config.images
            link.send(number, seen, images[number % len(images)], self._config)

    def _keep_connected(self) -> _Link | None:
        """The link if frames can be sent; a broken one is replaced after a pause."""
        link, now = self._link, time.monotonic()
        if link is not None and not link.broke and now - link.opened_s > CONNECT_S and not link.is_ready:
            link.broken("no answer")
        if link is not None and link.broke:
            self._link, self._retry_s = None, now + self._backoff.next_s()
            self._message = link.message
            link.connection.close()
        elif link is not None and link.is_ready:
            self._backoff.reset()
            return link
        if self._link is None and now >= self._retry_s:
            self._link = self._connect()
        return None

    def _connect(self) -> _Link:
        return _Link(self._transport, self._on_settled)


class _Link:
    """One connection, and the frames on it that have no answer. Listens to the transport."""

    def __init__(self, transport: RelayTransport, on_settled: Callable[[Seen], None]) -> None:
        self._on_settled = on_settled
        self.unanswered: dict[int, Seen] = {}
        self._empty = threading.Event()
        self.is_ready = self.broke = self._finishing = False
        self.message = ""
        self.opened_s = time.monotonic()
        self.connection: RelayConnection = transport.open(self)

    def send(self, number: int, seen: Seen, image: bytes, config: CameraConfig) -> None:
        """Send one frame, saying when it was due as the time of its capture."""
        self.unanswered[number] = seen
        unix_ns = time.time_ns() - round((time.monotonic() - seen.due_s) * 1e9)
        self.connection.send(
            Outgoing(number, config.camera_id, number, seen.due_s, unix_ns, config.max_age_s, False, image)
        )
        if self.broke:  # perhaps after its frames were settled
            self._settle_all()

    def drain(self) -> None:
        """Wait for the answers that are due, and close."""
        self._finishing = True
        self.connection.finish()
        if self.unanswered:
            self._empty.wait(DRAIN_S)
        self._settle_all()
        self.connection.close()

    def ready(self) -> None:
        """The relay is there."""
        self.is_ready = True

    def answered(self, seq: int, answer: Answer) -> None:
        """One frame's fate."""
        seen = self.unanswered.pop(seq, None)
        if seen is not None:
            seen.stages_ms, seen.message = answer.stages_ms, answer.error or ""
            code = seen.message.partition(":")[0]
            version = f"v{answer.model_version}" if answer.status is Status.DELIVERED else ""
            _settle(seen, str(answer.status), version or str(answer.reason or code), self._on_settled)
        if self._finishing and not self.unanswered:
            self._empty.set()

    def closing(self) -> None:
        """Its end follows."""

    def retry(self) -> None:
        """For sources that can be opened again; ours is always there."""

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        """No more answers will come."""
        self.broke, self.is_ready, self.message = True, False, message
        self._settle_all()
        self._empty.set()

    def _settle_all(self) -> None:
        """Frames that a broken connection took along were dropped; those that nobody answered in peace are lost."""
        while self.unanswered:
            _, seen = self.unanswered.popitem()
            seen.message = self.message
            if self._finishing:
                _settle(seen, LOST, "", self._on_settled)
            else:
                _settle(seen, Status.DROPPED, DropReason.DISCONNECTED, self._on_settled)


def _settle(seen: Seen, outcome: str, detail: str, tell: Callable[[Seen], None]) -> None:
    seen.outcome, seen.detail, seen.age_s = str(outcome), str(detail), time.monotonic() - seen.due_s
    tell(seen)
