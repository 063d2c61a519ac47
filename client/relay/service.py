"""The gRPC service that cameras stream to."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from client.relay.board import Board
from client.relay.camera import Camera
from client.relay.config import RelayConfig
from client.relay.limit import InFlightLimit
from client.relay.metrics import RelayMetrics
from client.relay.predictor import Predictor
from client.relay.scheduler import Scheduler
from client.relay.shares import Refused, Streams
from client.relayed import TELL_CLOSING
from client.wire import relay_pb2 as pb

SERVICE = "sightline.v1.Relay"
HELLO = (("sightline-relay", "v1"),)
FORWARDED = ("version",)  # metadata of the stream that goes on to the model server
# Whose token it is, set by the gateway from the token that it checked (istio/base/ingress). Without a gateway
# in front nobody sets it, and any camera id is taken.
SUBJECT = "sightline-token-subject"
# A camera with priority 3 gets three times the share of one with 1 when not every frame can be inferred. The limit
# bounds what a camera can take from the others by asking for it; a gateway may set or remove it.
PRIORITY, MAX_PRIORITY = "sightline-priority", 10
_PRIORITIES: dict[str | bytes, int] = {str(number): number for number in range(1, MAX_PRIORITY + 1)}
# A connection that breaks looks like a half-close to the reader; that the call is cancelled is known a little later.
FAREWELL_S = 0.02


class RelayService:
    """Relay.Detect for many cameras over one predictor."""

    def __init__(self, config: RelayConfig, metrics: RelayMetrics, board: Board) -> None:
        self._config, self._metrics, self._board = config, metrics, board
        limit = InFlightLimit(config.in_flight)
        self.predictor = Predictor(config, limit, metrics)
        self.scheduler = Scheduler(limit, self.predictor.predict, metrics, config.in_flight_per_camera)
        board.model = self.scheduler.summary
        self._streams = Streams(config.max_streams)
        if config.shadow_percent:
            from client.relay.shadow import Shadow  # needs the extra `rollout`
            from client.relay.shadow_metrics import ShadowMetrics

            shadow_metrics = ShadowMetrics(metrics.registry)
            self.predictor.shadow = Shadow(config, shadow_metrics, lambda: self.scheduler.waiting)
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server takes. Frames arrive as bytes, so that garbage can be answered with a status."""
        detect = grpc.stream_stream_rpc_method_handler(self.detect)
        return grpc.method_handlers_generic_handler(SERVICE, {"Detect": detect})

    async def detect(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """One camera's stream."""
        if self._draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay is shutting down")
        try:
            camera = self._opened(tuple(context.invocation_metadata() or ()))
        except Refused as refused:
            await context.abort(refused.code, str(refused))
        self._metrics.streams.inc()
        reader = asyncio.ensure_future(_read_frames(context, camera))
        broke = True
        try:
            await context.send_initial_metadata(HELLO)
            await camera.write_results(context.write)
            await asyncio.sleep(FAREWELL_S)
            broke = context.cancelled()
            if camera.yielded:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, camera.yielded)
            if camera.draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay is shutting down")
            if reader.done() and (end := reader.result()):
                await context.abort(end.code, str(end))
        finally:
            self._streams.close(camera)
            self._metrics.streams.dec()
            camera.gone(broke=broke)
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    def _opened(self, metadata: tuple[tuple[str, str | bytes], ...]) -> Camera:
        """A new stream, as its metadata wants it. Raises Refused."""
        forwarded = tuple((key, str(value)) for key, value in metadata if key in FORWARDED)
        subject = next((str(value) for key, value in metadata if key == SUBJECT), "")
        camera = Camera(
            self._config, self.scheduler, self._metrics, forwarded, subject, _priority(metadata), self._board,
            self._streams, half_closes=TELL_CLOSING in metadata,
        )  # fmt: skip
        self._streams.open(camera, subject, camera.heard_s)
        return camera

    async def close(self) -> None:
        """Give up what is still in flight, and close the channel."""
        if self.predictor.shadow is not None:
            await self.predictor.shadow.close()
        await self.scheduler.close()
        await self.predictor.close()

    def drain(self) -> None:
        """Take no more frames; streams end when what is in flight has been answered."""
        self._draining = True
        for camera in self._streams:
            camera.drain()


def _priority(metadata: tuple[tuple[str, str | bytes], ...]) -> int:
    """The camera's share, as its stream's metadata asks for it; 1 if it does not. Raises Refused."""
    text = next((value for key, value in metadata if key == PRIORITY), "1")
    if text not in _PRIORITIES:
        expected = f"{PRIORITY}: expected a number from 1 to {MAX_PRIORITY}, got {text[:20]!r}"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, expected)
    return _PRIORITIES[text]


async def _read_frames(context: grpc.aio.ServicerContext, camera: Camera) -> Refused | None:
    """Give the camera its frames until it half-closes; returns why the stream must end before."""
    try:
        # Nothing here keeps a frame while the next one is waited for: with many streams it would be most of the memory.
        while _take_in(await context.read(), camera):
            await camera.room()
    except Refused as refused:
        return refused
    finally:
        camera.end()
    return None


def _take_in(data: bytes, camera: Camera) -> bool:
    """Give the camera one message; False at the stream's end. Raises Refused, also at a message that is no frame."""
    if data is grpc.aio.EOF:
        return False
    try:
        frame = pb.Frame.FromString(data)
    except Exception as error:  # upb's DecodeError has no public base that is stable across versions
        expected = f"expected a sightline.v1.Frame, got {len(data)} bytes that are none: {error}"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, expected) from error
    if frame.HasField("source"):
        camera.tell_source(frame)
    else:
        camera.offer(frame)
    return True
