"""What the embedded server itself costs: a model that does nothing, the detector in process and over gRPC, callers in
batches, and calls while a version loads."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from client import http2
from client.bare import Unary
from client.predict import PREDICT
from model import contract
from sightline.bench import batching, hot_load
from sightline.bench.engines import Ours, Server, ServerByPython, Signature
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.rows import row
from sightline.bench.serve import serving
from sightline.bench.starts import several
from sightline.bench.tiny_models import request, save_noop
from sightline.bench.worker import Factory
from sightline.models import ServedModel

WARM_UP_CALLS = 200
STARTS, ROUNDS, FRAMES = (
    4,
    3,
    20,
)  # starts of everything; turns of each way then; frames of a turn, per caller
SIGNATURE, ENGINE = "the signature, as TensorFlow loads it", "the engine in process"
LOADS, QUIET_S = 8, 3.0  # hot loads, and the seconds before each
SHARE = 1 / 3  # of what the server can do is asked for meanwhile


def run(model: ServedModel, seconds: float, callers: int, console: Console) -> None:
    """Print four tables: the no-op model, `seconds` with one caller and with `callers`; the rest take 6 minutes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noop(folder, seconds, callers, console)
        in_process_and_over_grpc(model, folder, callers, STARTS, ROUNDS, FRAMES, console)
        batching.run(model, folder, 2, 20, console)
        hot_load.run(model, folder, LOADS, QUIET_S, SHARE, console)


def noop(folder: Path, seconds: float, callers: int, console: Console) -> None:
    """Measure `seconds` with one caller, as long with `callers`, and print both."""
    save_noop(folder / "noop" / "1")
    with serving("noop", folder / "noop", folder / "noop.log", one_core=True) as target:
        _measure(target, 1, min(1.0, seconds), WARM_UP_CALLS)
        one, many = (_measure(target, count, seconds) for count in (1, callers))
    table = Table(box=None, pad_edge=False, header_style="dim")
    console.print("gRPC Predict of a model that does nothing, the server on one core")
    for title in ("callers", "p50 ms", "p99 ms", "calls/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for count, (latencies_s, per_s) in ((1, one), (callers, many)):
        ms = sorted(1e3 * s for s in latencies_s)
        table.add_row(
            str(count), f"{statistics.median(ms):.2f}", f"{ms[int(0.99 * (len(ms) - 1))]:.2f}", f"{per_s:.0f}"
        )
    console.print(table)


def in_process_and_over_grpc(
    model: ServedModel, folder: Path, callers: int, starts: int, rounds: int, frames: int, console: Console
) -> None:
    """JPEG bytes to boxes, in turns: calling the signature in process, and through the server; print all.

    The server is called by one who costs next to nothing, for on the cores that the server runs on a client's own
    work would count as the server's; and by Python's gRPC client, as people will. Shares are of the signature's rate as
    `tf.saved_model.load` gives it, and of the rate of the engine that the server runs.
    """
    images = jpegs(SIZES_WH["16:9 1280x720"])
    version = model.base / str(model.version)

    @contextmanager
    def served() -> Iterator[dict[str, Factory]]:
        with serving(contract.MODEL_NAME, model.base, folder / "detector.log") as target:
            yield {"over gRPC": Server(target), "with Python's client": ServerByPython(target)}

    in_process: dict[str, Factory] = {SIGNATURE: Signature(version), ENGINE: Ours(version)}
    one, many = several(starts, in_process, served, (1, callers), images, rounds, frames)
    table = Table(box=None, pad_edge=False, header_style="dim")
    kilobytes = len(images[0]) // 1000
    console.print(f"YOLOv8n {model.meta.precision}, JPEG of {kilobytes} KB, 1280x720, to boxes")
    for title in ("", "p50 ms", "added ms", f"{callers} callers/s", "share", "of the engine"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    signature, engine = ((one[way], many[way]) for way in (SIGNATURE, ENGINE))
    for way in one:
        found, of_engine = (row(way, (one[way], many[way]), first) for first in (signature, engine))
        table.add_row(
            way, f"{found.p50_ms:.2f}", f"{found.added_ms:+.2f}", f"{found.many_per_s:.1f}",
            f"{100 * found.share:.0f} %", f"{100 * of_engine.share:.0f} %",
        )  # fmt: skip
    console.print(table)


def _measure(target: str, callers: int, seconds: float, at_least: int = 1) -> tuple[list[float], float]:
    """Seconds of each call, and calls per second of all callers together."""
    data = http2.message(request("noop", 1))

    def caller(call: Callable[[bytes], bytes]) -> list[float]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(latencies) < at_least:
            start = time.perf_counter()
            call(data)
            latencies.append(time.perf_counter() - start)
        return latencies

    with ExitStack() as stack, ThreadPoolExecutor(callers) as pool:
        connections = [stack.enter_context(Unary(target, PREDICT)) for _ in range(callers)]
        start = time.perf_counter()
        found = list(pool.map(caller, [connection.call for connection in connections]))
        took = time.perf_counter() - start
    latencies = [latency for one in found for latency in one]
    return latencies, len(latencies) / took
