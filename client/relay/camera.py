"""One camera's stream at the relay: a mailbox for the freshest frame, and results in the order of frames."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import grpc

from client.relay.board import Board, CameraView
from client.relay.checks import wrong_id, wrong_image, wrong_subject
from client.relay.config import RelayConfig
from client.relay.metrics import RelayMetrics
from client.relay.scheduler import Scheduler
from client.relay.shares import Share, Streams
from client.relay.slot import Slot
from client.wire import relay_pb2 as pb

_RETRY = pb.Result(retry=pb.Retry()).SerializeToString()
_CLOSING = pb.Result(closing=pb.Closing()).SerializeToString()
HALF_CLOSE_S = 1.0  # that a camera has for it when it was told that the relay stops


def camera_header(camera_id: str) -> tuple[str, str]:
    """Whose frame a Predict asks about, as metadata; a mesh may tell cameras apart by it."""
    return ("sightline-camera-id", quote(camera_id))


class Camera:
    """The state of one stream. Runs on one event loop; nothing in it is called from another thread.

    `metadata`: what goes with each of its Predicts. `subject`: the only camera id that its token allows, if it
    came with one. `priority`: its share of the model server, beside the others'. `board`: where people see it; None:
    nowhere. `streams`: where it finds the share of its camera id; None: it has one of its own. `half_closes`: it ends
    its stream when it is told that the relay stops.
    """

    def __init__(
        self,
        config: RelayConfig,
        scheduler: Scheduler,
        metrics: RelayMetrics,
        metadata: tuple[tuple[str, str], ...],
        subject: str = "",
        priority: int = 1,
        board: Board | None = None,
        streams: Streams | None = None,
        *,
        half_closes: bool = False,
    ) -> None:
        self._config, self._scheduler, self._metrics = config, scheduler, metrics
        self.metadata = metadata
        self._predict_metadata: grpc.aio.Metadata | None = None
        self.subject = subject
        self.priority = priority
        self._streams = streams
        self.share = Share() if streams is None else None  # from its first frame on, with a subject at once
        self.camera_id = ""
        self.view: CameraView | None = None
        self._board = board
        self.mailbox: Slot | None = None
        self.queued = False  # its share's: it takes turns there
        self.draining = False
        self.yielded = ""  # why it has to end for another stream
        self._slots: deque[Slot] = deque()  # frames whose results are not sent, in the order of arrival
        self._retry_asked = False
        self._half_closes, self._closing_due = half_closes, False
        self._ended = False  # no more frames will come
        self._settled = asyncio.Event()  # the writer has something to look at
        self._room = asyncio.Event()  # the reader may have room
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()  # when the last message came

    # --- frames in ---------------------------------------------------------------------------------------
    def offer(self, frame: pb.Frame) -> None:
        """Take in one frame: into the mailbox, or settle it at once. Raises Refused at the first one, if its camera id
        has too many streams."""
        slot = Slot(frame, self._loop.time())  # has the image; each look at it in the message would copy it
        self.heard_s = slot.arrived_s
        camera_id = frame.camera_id
        denied = wrong_subject(camera_id, self.subject)
        problem = denied or self._named(camera_id) or wrong_image(slot.image, self._config.max_image_bytes)
        self._slots.append(slot)
        self._metrics.received.inc()
        self._metrics.pending += 1
        if problem:
            code = grpc.StatusCode.PERMISSION_DENIED if denied else grpc.StatusCode.INVALID_ARGUMENT
            slot.fail(code, problem)
        else:
            self._take_in(frame, slot)
        if slot.settled:  # else the writer would be woken for nothing
            self._settled.set()

    def tell_source(self, frame: pb.Frame) -> None:
        """The camera tells how its source is. It is for those who look; if anything is wrong with it, it is ignored.
        Raises Refused as `offer` does."""
        self.heard_s = self._loop.time()
        camera_id = frame.camera_id
        if self._board is not None and not (wrong_subject(camera_id, self.subject) or self._named(camera_id)):
            self._joined_view().source_is(self, frame.source, self.heard_s)

    def retry(self) -> None:
        """Ask the camera to try its source again."""
        self._retry_asked = True
        self._settled.set()

    @property
    def predict_metadata(self) -> grpc.aio.Metadata:
        """What goes with each of its Predicts."""
        if self._predict_metadata is None:
            self._predict_metadata = grpc.aio.Metadata(camera_header(self.camera_id), *self.metadata)
        return self._predict_metadata

    def _joined_view(self) -> CameraView:
        assert self._board is not None
        self.view = self.view or self._board.join(self.camera_id, self)
        return self.view

    def _take_in(self, frame: pb.Frame, slot: Slot) -> None:
        """A frame with nothing wrong about it."""
        if self._board is not None:
            self._joined_view().arrived(self, frame, slot.arrived_s)
        if self.draining:
            slot.drop("shutdown")
        elif slot.expired(slot.arrived_s):
            slot.drop("expired")
        else:
            if self.mailbox is not None:
                self.mailbox.drop("mailbox")
                self._settled.set()
            if slot.expires_s:
                slot.timer = self._loop.call_at(slot.expires_s, self._expire, slot)
            self.mailbox = slot
            self._scheduler.offer(self)

    def _named(self, camera_id: str) -> str:
        """The first frame gives the stream its camera id; returns what is wrong with a frame's."""
        problem = wrong_id(camera_id, self.camera_id)
        if not problem and not self.camera_id:
            if self._streams is not None:
                self._streams.name(self, camera_id, self.heard_s)
            self.camera_id = camera_id
        return problem

    def _expire(self, slot: Slot) -> None:
        """Its time is up, in the mailbox or at the model server; there it may go on, but its camera does not wait."""
        if self.mailbox is slot:
            self.take()
        slot.drop("expired")
        self._settled.set()
        if slot.occupies:
            self.vacate(slot)
            self._scheduler.offer(self)

    async def room(self) -> None:
        """Wait until another frame may be read: a slow reader of results, or a frame that waits, holds the rest."""
        while not self.draining and (
            len(self._slots) >= self._config.max_unsent or (self.mailbox is not None and self.mailbox.wait)
        ):
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """No more frames will come."""
        self._ended = True
        self._settled.set()

    # --- for the scheduler -------------------------------------------------------------------------------
    def take(self) -> Slot:
        """The frame from the mailbox."""
        slot, self.mailbox = self.mailbox, None
        assert slot is not None
        self._room.set()
        return slot

    def occupy(self, slot: Slot) -> None:
        """A frame goes to the model server."""
        assert self.share is not None
        slot.occupies = True
        self.share.in_flight += 1

    def vacate(self, slot: Slot) -> None:
        """A frame was answered or has expired: the next one may go."""
        if slot.occupies and self.share is not None:
            slot.occupies = False
            self.share.in_flight -= 1

    def delivered(self, image: bytes, slot: Slot) -> None:
        """A frame was answered: for those who look."""
        if self.view is not None and self.view.watchers:
            self.view.show(self, image, slot.result)

    def wake(self) -> None:
        """A frame was settled."""
        self._settled.set()

    # --- results out -------------------------------------------------------------------------------------
    async def write_results(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Send each frame's result in order; returns after the last, when no more frames will come."""
        while True:
            if self._retry_asked:
                self._retry_asked = False
                await write(_RETRY)
            if self._closing_due:
                self._closing_due = False
                await write(_CLOSING)
            while self._slots and self._slots[0].settled:
                slot = self._slots[0]
                now_s = self._loop.time()
                result = slot.finish(now_s)
                await write(result.SerializeToString())
                self._slots.popleft()
                self._metrics.pending -= 1
                age_s = slot.aged_s(now_s)
                self._metrics.sent(result, slot.code_name, None if slot.wait else age_s)
                if self.view is not None:
                    self.view.sent(result, now_s, age_s * 1e3)
                self._room.set()
            if not self._slots and self._ended:
                return
            self._settled.clear()
            await self._settled.wait()

    @property
    def idle(self) -> bool:
        """Whether no frame of it waits for its result."""
        return not self._slots

    def yield_place(self, why: str) -> None:
        """End the stream, for another one."""
        self.yielded = why
        self.end()

    def drain(self) -> None:
        """The relay stops: the waiting frame is dropped, those in flight may finish, no more are taken.

        What the camera sends until it hears of it is answered as well, if it half-closes then.
        """
        self.draining = True
        self._closing_due = self._half_closes
        if self._half_closes:
            self._loop.call_later(HALF_CLOSE_S, self.end)
        else:
            self._ended = True
        if self.mailbox is not None:
            self.take().drop("shutdown")
        self._settled.set()
        self._room.set()

    def gone(self, *, broke: bool) -> None:
        """The stream is over, in whatever way: account for frames without a result.

        Its Predicts keep their places: the server goes on with them, and must not be given others on top.
        """
        self.draining = True
        if self.mailbox is not None:
            self.take()
        if self.view is not None:
            self.view.left(self, self._loop.time(), len(self._slots), broke=broke)
        self._metrics.lost(len(self._slots))
        self._metrics.pending -= len(self._slots)
        for slot in self._slots:
            slot.drop("disconnected")
        self._slots.clear()
