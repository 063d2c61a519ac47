"""The gRPC service that cameras stream to."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from client.relay.board import Board
from client.relay.camera import Camera
from client.relay.config import RelayConfig
from client.relay.metrics import RelayMetrics
from client.relay.predictor import Predictor
from client.relay.scheduler import Scheduler
from client.wire import relay_pb2 as pb

SERVICE = "sightline.v1.Relay"
HELLO = (("sightline-relay", "v1"),)
FORWARDED = ("version",)  # metadata of the stream that goes on to the model server
# Whose token it is, set by the gateway from the token that it checked (istio/base/ingress). Without a gateway
# in front nobody sets it, and any camera id is taken.
SUBJECT = "sightline-token-subject"
# A connection that breaks looks like a half-close to the reader; that the call is cancelled is known a little later.
FAREWELL_S = 0.02


class RelayService:
    """Relay.Detect for many cameras over one predictor."""

    def __init__(self, config: RelayConfig, metrics: RelayMetrics, board: Board) -> None:
        self._config, self._metrics, self._board = config, metrics, board
        self.predictor = Predictor(config)
        self.scheduler = Scheduler(config.in_flight, self.predictor.predict, metrics)
        self._cameras: set[Camera] = set()
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server takes. Frames arrive as bytes, so that garbage can be answered with a status."""
        detect = grpc.stream_stream_rpc_method_handler(self.detect)
        return grpc.method_handlers_generic_handler(SERVICE, {"Detect": detect})

    async def detect(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """One camera's stream."""
        if self._draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay is shutting down")
        if len(self._cameras) >= self._config.max_streams:
            limit = self._config.max_streams
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"the relay holds {limit} streams already (--max-streams)"
            )
        metadata = tuple(context.invocation_metadata() or ())
        forwarded = tuple((key, value) for key, value in metadata if key in FORWARDED)
        subject = next((str(value) for key, value in metadata if key == SUBJECT), "")
        camera = Camera(self._config, self.scheduler, self._metrics, forwarded, subject, self._board)
        self._cameras.add(camera)
        self._metrics.streams.inc()
        reader = asyncio.ensure_future(_read_frames(context, camera))
        broke = True
        try:
            await context.send_initial_metadata(HELLO)
            await camera.write_results(context.write)
            await asyncio.sleep(FAREWELL_S)
            broke = context.cancelled()
            if camera.draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay is shutting down")
            if reader.done() and (problem := reader.result()):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        finally:
            self._cameras.discard(camera)
            self._metrics.streams.dec()
            camera.gone(broke=broke)
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    def drain(self) -> None:
        """Take no more frames; streams end when what is in flight has been answered."""
        self._draining = True
        for camera in self._cameras:
            camera.drain()


async def _read_frames(context: grpc.aio.ServicerContext, camera: Camera) -> str:
    """Give the camera its frames until it half-closes; returns what was wrong if it sends no frames."""
    try:
        while (data := await context.read()) is not grpc.aio.EOF:
            try:
                frame = pb.Frame.FromString(data)
            except Exception as error:  # upb's DecodeError has no public base that is stable across versions
                return f"expected a sightline.v1.Frame, got {len(data)} bytes that are none: {error}"
            camera.offer(frame)
            await camera.room()
        return ""
    finally:
        camera.end()
