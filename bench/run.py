"""`make bench-peers`: JPEG over the wire to boxes, Sightline beside what a user would pick instead.

Each peer is measured at its best: one caller against one instance with all cores, CALLERS callers against an
instance for each core. All take turns in one run, on the same frames, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Grpc, Http
from bench.report import Row, plot, table
from model.weights import locate, sha256
from sightline.bench.engine import shapes_hw
from sightline.bench.images import jpegs
from sightline.bench.peers import onnx_file
from sightline.bench.stack import CALLERS, FRAMES, in_process, ways
from sightline.bench.worker import Factory, Turn, take_turns
from sightline.commands.options import DEFAULT_IMGSZ, imgsz_hw
from sightline.console import table_console
from sightline.models import ServedModel, prepare
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Children

CORES = len(os.sched_getaffinity(0))
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Peer:
    """`server` and `runtime` as in bench.serve; `client` of a port."""

    name: str
    server: str
    runtime: str
    client: Callable[[int], Factory]


def _body(port: int) -> Factory:
    return Http(port, "/detect", form=False)


PEERS = (
    Peer("FastAPI + Ultralytics (PyTorch)", "fastapi", "torch", _body),
    Peer("FastAPI + ONNX Runtime", "fastapi", "onnxruntime", _body),
    Peer("LitServe + OpenVINO bf16", "litserve", "openvino", lambda port: Http(port, "/predict", form=True)),
    Peer("BentoML + OpenVINO bf16", "bentoml", "openvino", lambda port: Http(port, "/detect", form=True)),
    Peer("FastAPI + OpenVINO bf16", "fastapi", "openvino", _body),
    Peer("gRPC + OpenVINO bf16", "grpc", "openvino", Grpc),
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Sightline beside its peers.")
    parser.add_argument("--python", type=Path, required=True, help="the interpreter that has the peers")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"))
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    args = parser.parse_args()
    console = table_console()
    weights = locate(args.weights)
    model = prepare(args.folder, args.weights, imgsz_hw(DEFAULT_IMGSZ), "bf16", 1, console.print)
    onnx = args.folder / f"onnx-{sha256(weights)[:12]}"
    if not all(onnx_file(onnx, hw).exists() for hw in shapes_hw()):
        raise SystemExit(f"{onnx} has no networks for the peers: run `sightline bench engine` first")
    base = [str(args.python), "-m", "bench.serve", "--weights", str(weights), "--onnx", str(onnx)]
    rows = _measure(model, base, args.folder / "logs", args.rounds, args.frames)
    console.print(table(rows, CALLERS))
    if args.plot:
        plot(rows, CALLERS, args.plot)


def _measure(model: ServedModel, base: list[str], logs: Path, rounds: int, frames: int) -> list[Row]:
    images = jpegs(FRAMES)
    with ways(model, logs / "ours") as ours:
        ours = {f"Sightline: {way}": factory for way, factory in {**in_process(model), **ours}.items()}
        measured: list[dict[str, list[Turn]]] = []
        for callers, instances in ((1, 1), (CALLERS, CORES)):
            with _peers(base, logs, instances) as peers:
                measured.append(take_turns({**ours, **peers}, callers, images, rounds, frames))
    one, many = measured
    return [
        Row(
            name,
            1e3 * statistics.median(s for turn in one[name] for s in turn.latencies_s),
            statistics.median(turn.frames_per_s for turn in many[name]),
        )
        for name in one
    ]


@contextmanager
def _peers(base: list[str], logs: Path, instances: int) -> Iterator[dict[str, Factory]]:
    """All peers, each with `instances` instances that share the cores."""
    with Children(logs) as children:
        ports = {peer: free_port() for peer in PEERS}
        for peer, port in ports.items():
            options = f"--runtime {peer.runtime} --port {port} --instances {instances} --threads {CORES // instances}"
            children.start(
                f"{peer.server}-{peer.runtime}", [*base[:3], peer.server, *base[3:], *options.split()]
            )
        for port in ports.values():
            _wait(port, children)
        yield {peer.name: peer.client(port) for peer, port in ports.items()}


def _wait(port: int, children: Children) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s:
        children.check()
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"port {port} was not opened within {START_TIMEOUT_S:.0f} s")


if __name__ == "__main__":
    main()
