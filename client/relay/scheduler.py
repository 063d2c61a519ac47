"""Which camera's frame goes to the model server next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from client.relay.metrics import RelayMetrics
from client.relay.slot import Slot

if TYPE_CHECKING:
    from client.relay.camera import Camera


class Scheduler:
    """A bounded number of Predicts in flight, handed out round robin to the cameras that have a frame waiting.

    A camera is in the queue at most once however fast it sends, so each gets the same share.
    """

    def __init__(
        self, limit: int, predict: Callable[[Camera, Slot], Awaitable[None]], metrics: RelayMetrics
    ) -> None:
        self._limit, self._predict, self._metrics = limit, predict, metrics
        self._queue: deque[Camera] = deque()
        self._in_flight = 0

    def offer(self, camera: Camera) -> None:
        """A camera has a new frame in its mailbox."""
        self._enqueue(camera)
        self._start_all()

    def _enqueue(self, camera: Camera) -> None:
        if not camera.queued and camera.startable:
            camera.queued = True
            self._queue.append(camera)

    def _start_all(self) -> None:
        while self._queue and self._in_flight < self._limit:
            camera = self._queue.popleft()
            camera.queued = False
            if camera.startable:  # its frame may have expired meanwhile
                self._start(camera, camera.take())

    def _start(self, camera: Camera, slot: Slot) -> None:
        self._in_flight += 1
        camera.in_flight += 1
        self._metrics.in_flight.inc()
        task = asyncio.ensure_future(self._run(camera, slot))
        camera.predicts.add(task)
        task.add_done_callback(lambda done: self._finished(camera, done))

    async def _run(self, camera: Camera, slot: Slot) -> None:
        await self._predict(camera, slot)

    def _finished(self, camera: Camera, task: asyncio.Task[None]) -> None:
        """In a done callback, so that a task that was cancelled before it ran gives its place back too."""
        camera.predicts.discard(task)
        self._in_flight -= 1
        camera.in_flight -= 1
        self._metrics.in_flight.dec()
        camera.wake()
        self._enqueue(camera)
        self._start_all()
