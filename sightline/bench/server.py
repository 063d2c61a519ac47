"""What the embedded server itself costs: Predict of a model that does nothing, the server on one core."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from client.wire import tfserving_pb2 as wire
from sightline.ports import free_port

METHOD = "/tensorflow.serving.PredictionService/Predict"
READY_S = 120.0
WARM_UP_CALLS = 200


def run(seconds: float, callers: int, console: Console) -> None:
    """Measure `seconds` with one caller, as long with `callers`, and print both."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as port:
        _measure(port, 1, min(1.0, seconds), WARM_UP_CALLS)
        one, many = (_measure(port, count, seconds) for count in (1, callers))
    console.print("gRPC Predict of a model that does nothing, the server on one core")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("callers", "p50 ms", "p99 ms", "calls/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for count, (latencies_s, per_s) in ((1, one), (callers, many)):
        ms = sorted(1e3 * s for s in latencies_s)
        table.add_row(
            str(count), f"{statistics.median(ms):.2f}", f"{ms[int(0.99 * (len(ms) - 1))]:.2f}", f"{per_s:.0f}"
        )
    console.print(table)


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    """A server of the no-op model in a process of its own, on the first core; yields its port."""
    _save_noop(folder / "noop" / "1")
    port = free_port()
    log = (folder / "log").open("wb")
    flags = [f"--port={port}", "--model_name=noop", f"--model_base_path={folder / 'noop'}"]
    process = subprocess.Popen([sys.executable, "-m", "serving", *flags], stdout=log, stderr=log)
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})  # its threads, all later, inherit it
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            _wait(channel, process, folder / "log")
        yield port
    finally:
        process.kill()
        process.wait()
        log.close()


def _wait(channel: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    future = grpc.channel_ready_future(channel)
    end = time.monotonic() + READY_S
    while True:
        try:
            future.result(timeout=0.2)
            return
        except grpc.FutureTimeoutError:
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"the server did not start: {' '.join(tail)}") from None


def _save_noop(folder: Path) -> None:
    """A SavedModel that returns its input."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    class Noop(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> dict[str, Any]:
            return {"y": tf.identity(x)}

    module = Noop()
    tf.saved_model.save(module, str(folder), signatures=module.serve)


def _request() -> bytes:
    message = wire.PredictRequest()
    message.model_spec.name = "noop"
    tensor = message.inputs["x"]
    tensor.dtype = 1  # DT_FLOAT
    tensor.tensor_shape.dim.add(size=1)
    tensor.tensor_content = bytes(4)
    data: bytes = message.SerializeToString()
    return data


def _measure(port: int, callers: int, seconds: float, at_least: int = 1) -> tuple[list[float], float]:
    """Seconds of each call, and calls per second of all callers together."""
    request = _request()

    def caller(call: Callable[[bytes], bytes]) -> list[float]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(latencies) < at_least:
            start = time.perf_counter()
            call(request)
            latencies.append(time.perf_counter() - start)
        return latencies

    # A connection each: they are different clients.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(callers)]
    try:
        start = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            found = list(pool.map(caller, [channel.unary_unary(METHOD) for channel in channels]))
        took = time.perf_counter() - start
    finally:
        for channel in channels:
            channel.close()
    latencies = [latency for one in found for latency in one]
    return latencies, len(latencies) / took
