"""Which camera's frame goes to the model server next, and when."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from client.relay.limit import InFlightLimit
from client.relay.metrics import RelayMetrics
from client.relay.shares import Share
from client.relay.slot import Slot

if TYPE_CHECKING:
    from client.relay.camera import Camera


class Outcome(Enum):
    """What became of a Predict."""

    ANSWERED = "answered"
    REFUSED = "refused"  # the server or a proxy had no place for it
    LOST = "lost"  # no answer came, and none is waited for any more


class Scheduler:
    """As many Predicts in flight as `limit` finds useful, handed out by start-time fair queueing.

    A camera id is in the queue at most once however fast it sends and over however many streams, and its frame costs it
    1 / priority of virtual time: under overload each gets a share in proportion to its priority. At most `per_camera`
    x priority of its frames are in flight. (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996.)
    """

    def __init__(
        self,
        limit: InFlightLimit,
        predict: Callable[[Camera, Slot], Awaitable[Outcome]],
        metrics: RelayMetrics,
        per_camera: int,
    ) -> None:
        self.limit = limit
        self._per_camera = per_camera
        self.in_flight = 0
        self._predict, self._late = predict, metrics.late
        self._queue: list[tuple[float, int, Share]] = []  # a heap by start tag, then by arrival
        self._arrivals = count()
        self._virtual = 0.0  # start tag of the frame that was sent last
        self._tasks: dict[Slot, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        metrics.in_flight.set_function(lambda: self.in_flight)
        metrics.in_flight_limit.set_function(lambda: limit.value)
        metrics.waiting.set_function(lambda: len(self._queue))

    def offer(self, camera: Camera) -> None:
        """A camera has a new frame in its mailbox, or one fewer in flight."""
        share = camera.share
        assert share is not None
        share.add(camera)
        self._enqueue(share)
        self._start_all()

    @property
    def waiting(self) -> bool:
        """Whether a camera's frame waits for a place."""
        return bool(self._queue)

    def summary(self) -> dict[str, Any]:
        """What goes on, in words that JSON knows."""
        limit = self.limit
        return {
            "in_flight": self.in_flight,
            "limit": limit.value,
            "predict_ms": round(limit.typical_s * 1e3, 1),
        }

    async def close(self) -> None:
        """Give up what is still in flight."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enqueue(self, share: Share) -> None:
        if share.waits and not share.queued and share.in_flight < self._per_camera * share.priority:
            share.queued = True
            start = max(share.finish_tag, self._virtual)
            heapq.heappush(self._queue, (start, next(self._arrivals), share))

    def _start_all(self) -> None:
        while self._queue and self.in_flight < self.limit.value:
            start, _, share = heapq.heappop(self._queue)
            share.queued = False
            camera = share.next()
            if camera is None:
                continue
            slot = camera.take()
            now_s = self._loop.time()
            if slot.expires_s and self.limit.doomed(slot.expires_s - now_s, now_s):
                slot.drop("expired")
                camera.wake()
            else:
                self._virtual = start
                share.finish_tag = start + 1 / camera.priority
                self._start(camera, slot)
            self._enqueue(share)  # for its other streams

    def _start(self, camera: Camera, slot: Slot) -> None:
        self.in_flight += 1
        camera.occupy(slot)
        self._tasks[slot] = self._loop.create_task(self._run(camera, slot, self.in_flight))

    async def _run(self, camera: Camera, slot: Slot, in_flight: int) -> None:
        try:
            await self._ask(camera, slot, in_flight)
        finally:  # no done callback, which would wait for the loop's next round
            del self._tasks[slot]
            self.in_flight -= 1
            camera.vacate(slot)
            camera.wake()
            self.offer(camera)

    async def _ask(self, camera: Camera, slot: Slot, in_flight: int) -> None:
        """A Predict, and what the limit learns of it."""
        started_s = self._loop.time()
        place = self.limit.started(in_flight, started_s)
        outcome = await self._predict(camera, slot)
        now_s = self._loop.time()
        late = slot.expired(now_s)
        if outcome is Outcome.REFUSED:
            self.limit.refused(now_s)
        else:
            answered = outcome is Outcome.ANSWERED
            full = bool(self._queue) and self.in_flight >= self.limit.value
            self.limit.ended(place, now_s - started_s, now_s, answered=answered, late=late, full=full)
        if late:
            self._late.inc(outcome.value)
            self.limit.late(now_s)
