"""What the mesh costs: the time it adds to a frame, and the rate it lets through.

Direct calls and calls through the mesh take turns, one by one, so that a busy machine slows both alike.
"""

from __future__ import annotations

import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from mesh.render.topology import Address
from mesh.run import Mesh, MeshConfig
from mesh.stack import GATEWAY_PORT, SERVING_PORT, istio_folder, stack_topology
from model.child import bound

PREDICT = "/tensorflow.serving.PredictionService/Predict"
DETECT = "/sightline.v1.Relay/Detect"
# A channel of its own for each target; a frame is sent as it is, large or not.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class MeshCost:
    """Milliseconds at p50 of one frame at a time, and frames per second with `window` of them in flight.

    `predict_*`: a unary Predict, direct and through outbound + inbound (mutual TLS). `stream_*`: a frame and its
    result on an open Detect stream, direct and through gateway (TLS, token) + inbound (mutual TLS).
    """

    frame_bytes: int
    predict_direct_ms: float
    predict_mesh_ms: float
    stream_direct_ms: float
    stream_mesh_ms: float
    window: int
    predict_direct_per_s: float
    predict_mesh_per_s: float

    @property
    def added_ms(self) -> float:
        """What all hops together add to a frame: gateway, the relay's inbound, outbound, the server's inbound."""
        return self.predict_mesh_ms - self.predict_direct_ms + self.stream_mesh_ms - self.stream_direct_ms


def measure(
    calls: int = 500,
    frame_bytes: int = 100_000,
    window: int = 4,
    concurrency: int = 1,
    istio: Path | None = None,
) -> MeshCost:
    """Start a server that does nothing and the mesh of istio/, and measure. Takes about 5 s for 500 calls.

    Raises MeshError where the mesh can't start.
    """
    istio = istio or istio_folder()
    body = bytes(frame_bytes)
    with ExitStack() as stack:
        address = stack.enter_context(_server())
        where = stack_topology({"v1": [address], "v2": [address]}, address)
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-bench-")))
        config = MeshConfig(
            (istio / "base",), where, state=state, concurrency=concurrency, watch=False, log=lambda _: None
        )
        mesh = stack.enter_context(Mesh(config))
        outbound = next(w.outbound[SERVING_PORT] for w in mesh.topology.workloads if w.outbound)
        direct, through = (
            stack.enter_context(grpc.insecure_channel(str(target), OPTIONS)) for target in (address, outbound)
        )
        predicts = [_unary(channel, body) for channel in (direct, through)]
        streams = [
            stack.enter_context(_stream(direct, body, ())),
            stack.enter_context(_gateway_stream(mesh, body)),
        ]
        predict_direct, predict_mesh = _alternate(predicts, calls)
        stream_direct, stream_mesh = _alternate(streams, calls)
        rate_direct, rate_mesh = (_rate(channel, body, calls, window) for channel in (direct, through))
    return MeshCost(
        frame_bytes=frame_bytes,
        predict_direct_ms=predict_direct,
        predict_mesh_ms=predict_mesh,
        stream_direct_ms=stream_direct,
        stream_mesh_ms=stream_mesh,
        window=window,
        predict_direct_per_s=rate_direct,
        predict_mesh_per_s=rate_mesh,
    )


@contextmanager
def _server() -> Iterator[Address]:
    command = [sys.executable, "-m", "mesh.bench_server"]
    process = subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Address("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def _unary(channel: grpc.Channel, body: bytes) -> Callable[[], object]:
    call = channel.unary_unary(PREDICT)
    return lambda: call(body, timeout=10)


@contextmanager
def _stream(channel: grpc.Channel, body: bytes, metadata: Any) -> Iterator[Callable[[], object]]:
    """An open stream; each call sends a frame and waits for its result."""
    frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    results = channel.stream_stream(DETECT)(iter(frames.get, None), metadata=metadata)

    def exchange() -> object:
        frames.put(body)
        return next(results)

    try:
        yield exchange
    finally:
        frames.put(None)
        results.cancel()


@contextmanager
def _gateway_stream(mesh: Mesh, body: bytes) -> Iterator[Callable[[], object]]:
    assert mesh.topology.gateway is not None
    credentials = grpc.ssl_channel_credentials(mesh.ca_file.read_bytes())
    target = str(mesh.topology.gateway.listen[GATEWAY_PORT])
    token = ("authorization", f"Bearer {mesh.issuer.token('bench')}")
    with (
        grpc.secure_channel(target, credentials, OPTIONS) as channel,
        _stream(channel, body, (token,)) as exchange,
    ):
        yield exchange


def _alternate(ways: list[Callable[[], object]], calls: int) -> list[float]:
    """The median of each way's milliseconds, their calls taking turns."""
    for _ in range(20):  # connections, certificates, caches
        for way in ways:
            way()
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(calls):
        for way, spent in zip(ways, times, strict=True):
            started = time.perf_counter()
            way()
            spent.append((time.perf_counter() - started) * 1e3)
    return [statistics.median(spent) for spent in times]


def _rate(channel: grpc.Channel, body: bytes, calls: int, window: int) -> float:
    """Calls per second with `window` of them in flight."""
    call = channel.unary_unary(PREDICT)
    pending = [call.future(body, timeout=10) for _ in range(window)]
    started = time.perf_counter()
    for _ in range(calls):
        pending.pop(0).result()
        pending.append(call.future(body, timeout=10))
    spent = time.perf_counter() - started
    for last in pending:
        last.result()
    return calls / spent
