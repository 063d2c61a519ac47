"""`sightline bench stack`: the engine in process, through the server, and through relay and server."""

from __future__ import annotations

import socket
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model import contract
from sightline.bench.engines import Ours, Relay, Server
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.worker import Factory, take_turns
from sightline.processes import Children
from sightline.ready import wait_serving

CALLERS = 4
READY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Row:
    """One way to the engine: milliseconds of one caller, frames per second of CALLERS callers."""

    way: str
    p50_ms: float
    p99_ms: float
    many_per_s: float


def run(model: Path, logs: Path, rounds: int, frames: int, console: Console) -> list[Row]:
    """Start a server and a relay on free ports, measure all ways taking turns, and print."""
    images = jpegs(SIZES_WH["16:9 1280x720"])
    server, relay, metrics = _free_ports(3)
    with Children(logs) as children:
        python = [sys.executable, "-m"]
        children.start("server", [
            *python, "serving", f"--port={server}", f"--model_name={contract.MODEL_NAME}",
            f"--model_base_path={model.parent.resolve()}",
        ])  # fmt: skip
        children.start("relay", [
            *python, "sightline", "relay", "--listen", f"127.0.0.1:{relay}",
            "--target", f"127.0.0.1:{server}", "--http-port", str(metrics),
        ])  # fmt: skip
        wait_serving(f"127.0.0.1:{relay}", READY_TIMEOUT_S, children.check)
        ways: dict[str, Factory] = {
            "in process": Ours(model),
            "server": Server(f"127.0.0.1:{server}"),
            "relay, server": Relay(f"127.0.0.1:{relay}"),
        }
        one, many = (take_turns(ways, callers, images, rounds, frames) for callers in (1, CALLERS))
    rows = []
    for way in ways:
        ms = sorted(1e3 * s for turn in one[way] for s in turn.latencies_s)
        rate = statistics.median(turn.frames_per_s for turn in many[way])
        rows.append(Row(way, statistics.median(ms), ms[int(0.99 * (len(ms) - 1))], rate))
    console.print(table(rows, len(images[0])))
    return rows


def table(rows: list[Row], image_bytes: int) -> Table:
    """Figures, what each way adds to the first at p50, and its share of the first's rate."""
    out = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    out.title = f"JPEG of {image_bytes // 1000} KB, 1280x720, to boxes: one caller, and {CALLERS} callers"
    titles = ("way", "p50 ms", "p99 ms", "added ms", f"{CALLERS} callers/s", "share")
    for title in titles:
        out.add_column(title, justify="left" if title == "way" else "right", no_wrap=True)
    for row in rows:
        out.add_row(
            row.way, f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.p50_ms - rows[0].p50_ms:+.2f}",
            f"{row.many_per_s:.1f}", f"{100 * row.many_per_s / rows[0].many_per_s:.0f} %",
        )  # fmt: skip
    return out


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
