"""`make bench-peers`: JPEG over the wire to boxes, Sightline beside what a user would pick instead.

Each peer is measured at its best: one caller against one instance with all cores, CALLERS callers against an
instance for each core. All take turns in one run, on the same frames, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import agreement
from bench.clients import Grpc, Http
from bench.report import OURS, PYTORCH, SIGHTLINE, goals, plot, rows_of, table
from model.weights import locate, sha256
from sightline.bench.engine import shapes_hw
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.peers import onnx_file
from sightline.bench.stack import CALLERS, SHAPE, in_process, ways
from sightline.bench.starts import Turns
from sightline.bench.worker import Factory, take_turns
from sightline.commands.options import DEFAULT_IMGSZ, imgsz_hw
from sightline.console import table_console
from sightline.models import ServedModel, prepare
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Children

CORES = len(os.sched_getaffinity(0))
START_TIMEOUT_S = 120.0
STARTS = 2  # of everything: one start of an engine is some percent faster or slower than the next
OPENVINO = {"fp32": "openvino-f32", "bf16": "openvino-bf16"}


@dataclass(frozen=True)
class Peer:
    """`server` and `runtime` as in bench.serve; `client` of a port."""

    name: str
    server: str
    runtime: str
    client: Callable[[int], Factory]


def _body(port: int) -> Factory:
    return Http(port, "/detect", form=False)


def peers_of(precision: str) -> tuple[Peer, ...]:
    """What ours is measured beside. OpenVINO runs in `precision`, fp32 or bf16, as ours does."""
    openvino, words = OPENVINO[precision], f"OpenVINO {precision}"
    return (
        Peer(PYTORCH, "fastapi", "torch", _body),
        Peer("FastAPI + ONNX Runtime", "fastapi", "onnxruntime", _body),
        Peer(f"LitServe + {words}", "litserve", openvino, lambda port: Http(port, "/predict", form=True)),
        Peer(f"BentoML + {words}", "bentoml", openvino, lambda port: Http(port, "/detect", form=True)),
        Peer(f"FastAPI + {words}", "fastapi", openvino, _body),
        Peer(f"gRPC + {words}", "grpc", openvino, Grpc),
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Sightline beside its peers.")
    parser.add_argument("--python", type=Path, required=True, help="the interpreter that has the peers")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"))
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--precision", default="auto", help="fp32 or bf16; auto: bf16 where the CPU has it")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each in a start")
    parser.add_argument("--frames", type=int, default=15, help="of a turn, per caller")
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    args = parser.parse_args()
    console = table_console()
    weights = locate(args.weights)
    model = prepare(args.folder, args.weights, imgsz_hw(DEFAULT_IMGSZ), args.precision, 1, console.print)
    onnx = args.folder / f"onnx-{sha256(weights)[:12]}"
    if not all(onnx_file(onnx, hw).exists() for hw in shapes_hw()):
        raise SystemExit(f"{onnx} has no networks for the peers: run `sightline bench engine` first")
    base = [str(args.python), "-m", "bench.serve", "--weights", str(weights), "--onnx", str(onnx)]
    one, many = _measure(model, base, args.folder / "logs", args.rounds, args.frames)
    rows = rows_of(one, many)
    console.print(table(rows, CALLERS))
    for line in goals(many, CALLERS):
        console.print(line)
    if args.plot:
        plot(rows, CALLERS, args.plot)


def _measure(model: ServedModel, base: list[str], logs: Path, rounds: int, frames: int) -> list[Turns]:
    """The turns with one caller, and with CALLERS."""
    images = jpegs(SIZES_WH[SHAPE])
    found: list[Turns] = [{}, {}]
    for _ in range(STARTS):
        with ways(model, logs / "ours") as ways_to_it:
            ours = {SIGHTLINE + way: factory for way, factory in {**in_process(model), **ways_to_it}.items()}
            for turns, callers, instances in zip(found, (1, CALLERS), (1, CORES), strict=True):
                with _peers(base, logs, model.meta.precision, instances) as peers:
                    _agree(ours[OURS], peers, images[0])
                    measured = take_turns({**ours, **peers}, callers, images, rounds, frames)
                for name, more in measured.items():
                    turns.setdefault(name, []).extend(more)
    return found


def _agree(ours: Factory, peers: dict[str, Factory], image: bytes) -> None:
    """Each peer finds in a frame what ours finds. Raises RuntimeError."""
    (detect,) = ours(1)
    expected = agreement.ours(detect(image), SIZES_WH[SHAPE])
    for name, factory in peers.items():
        (ask,) = factory(1)
        agreement.check(name, expected, agreement.theirs(ask(image)))


@contextmanager
def _peers(base: list[str], logs: Path, precision: str, instances: int) -> Iterator[dict[str, Factory]]:
    """All peers, each with `instances` instances that share the cores."""
    with Children(logs) as children:
        ports = {peer: free_port() for peer in peers_of(precision)}
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
