"""Who may stream: places for streams, and for all streams of one camera id together one share of the model server."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from client.relay.camera import Camera

# Of one camera id: one, and some that broke and are not known to be dead yet (client/relay/main.py's keepalive).
MAX_STREAMS_PER_CAMERA = 16
SILENT_S = 3.0  # a stream from which nothing came for so long yields its place where there is no other


class Refused(Exception):
    """A stream is ended with this status and text."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Share:
    """One camera id's share of the model server, and the streams that have it together.

    `finish_tag`: until when, in the scheduler's virtual time, it has had its share. `in_flight`: its Predicts under
    way, those of streams that have ended included. `priority`: the highest of its streams'. `queued`: the scheduler
    has it in its queue.
    """

    __slots__ = ("_waiting", "finish_tag", "in_flight", "priority", "queued", "streams")

    def __init__(self) -> None:
        self.finish_tag = 0.0
        self.in_flight = 0
        self.priority = 1
        self.queued = False
        self.streams: dict[Camera, None] = {}  # in the order in which they joined
        # Those with a frame in the mailbox take turns; some have lost it since.
        self._waiting: deque[Camera] = deque()

    @property
    def waits(self) -> bool:
        """Whether a frame may be waiting."""
        return bool(self._waiting)

    def add(self, camera: Camera) -> None:
        """A stream has a frame in its mailbox."""
        if camera.mailbox is not None and not camera.queued:
            camera.queued = True
            self._waiting.append(camera)

    def next(self) -> Camera | None:
        """The stream whose frame goes next; None if all have expired meanwhile."""
        while self._waiting:
            camera = self._waiting.popleft()
            camera.queued = False
            if camera.mailbox is not None:
                return camera
        return None


class Streams:
    """All open streams. A stream is opened, named by its first frame, and closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: dict[Camera, None] = {}
        self._unnamed: dict[Camera, None] = {}  # those that have not told their camera id, the oldest first
        self._shares: dict[str, Share] = {}
        # Of camera ids that left: who goes and comes back must not have a fresh share each time.
        self._left: OrderedDict[str, Share] = OrderedDict()

    def __iter__(self) -> Iterator[Camera]:
        return iter(self._all)

    def open(self, camera: Camera, subject: str, now_s: float) -> None:
        """A stream opens, for the camera id `subject` if its token says so. Raises Refused."""
        if len(self._all) >= self._most:
            held = f"the relay holds {self._most} streams already (--max-streams)"
            self._replace(self._unnamed, held, now_s)
        if subject:
            self._join(camera, subject, now_s)
        self._all[camera] = self._unnamed[camera] = None

    def name(self, camera: Camera, camera_id: str, now_s: float) -> None:
        """A stream tells its camera id. Raises Refused."""
        if camera.share is None:
            self._join(camera, camera_id, now_s)
        self._unnamed.pop(camera, None)

    def close(self, camera: Camera) -> None:
        """A stream has ended."""
        self._all.pop(camera, None)
        self._unnamed.pop(camera, None)
        share = camera.share
        if share is None or camera not in share.streams:
            return
        del share.streams[camera]
        if not share.streams:
            camera_id = camera.subject or camera.camera_id
            del self._shares[camera_id]
            self._left[camera_id] = share
            if len(self._left) > self._most:
                self._left.popitem(last=False)

    def _join(self, camera: Camera, camera_id: str, now_s: float) -> None:
        share = self._shares.get(camera_id)
        if share is None:
            share = self._shares[camera_id] = (
                self._left.pop(camera_id) if camera_id in self._left else Share()
            )
        if len(share.streams) >= MAX_STREAMS_PER_CAMERA:
            held = f"camera {camera_id!r} has {MAX_STREAMS_PER_CAMERA} streams already: open one per camera"
            self._replace(share.streams, held, now_s)
        camera.share = share
        share.streams[camera] = None
        share.priority = max(one.priority for one in share.streams)

    def _replace(self, streams: dict[Camera, None], held: str, now_s: float) -> None:
        """End one of these that is silent, for a new one. Raises Refused if there is none."""
        silent = next((one for one in streams if now_s - one.heard_s > SILENT_S and one.idle), None)
        if silent is None:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, held)
        self.close(silent)
        silent.yield_place(f"{held}; this one was silent and yielded to a new one")
