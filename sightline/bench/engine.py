"""`sightline bench engine`: JPEG bytes to boxes in one process, ours against ONNX Runtime and OpenVINO."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model import contract
from model.letterbox import fit
from sightline.bench.engines import Ours, Peers
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.worker import Factory, take_turns

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Whom each of ours is compared with, and the goal: the most of that peer's time that ours may take.
GOALS = {"ours fp32": ("ONNX Runtime fp32", 1.05), "ours bf16": ("OpenVINO bf16", 1.25)}


@dataclass(frozen=True)
class Row:
    """One engine on one kind of frame: median milliseconds of one caller, frames per second of CORES callers."""

    engine: str
    frames: str
    one_ms: float
    many_per_s: float


def run(models: dict[str, Path], onnx: Path, rounds: int, frames: int, console: Console) -> list[Row]:
    """Measure and print. `models`: the version folder of "fp32" and "bf16"; `onnx`: see `prepare_onnx`;
    each engine has `rounds` turns of `frames` frames, all taking turns."""
    rows = []
    for kind, size_wh in SIZES_WH.items():
        images = jpegs(size_wh)
        one = take_turns(_engines(models, onnx, CORES), 1, images, rounds, frames)
        many = take_turns(_engines(models, onnx, 1), CORES, images, rounds, frames)
        for engine in one:
            ms = 1e3 * statistics.median(s for turn in one[engine] for s in turn.latencies_s)
            rate = statistics.median(turn.frames_per_s for turn in many[engine])
            rows.append(Row(engine, kind, ms, rate))
    console.print(table(rows))
    return rows


def shapes_hw() -> list[tuple[int, int]]:
    """The network inputs that the measured frames need."""
    imgsz = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)
    return [fit((height, width), imgsz).input_hw for width, height in SIZES_WH.values()]


def table(rows: list[Row]) -> Table:
    """Figures, and our time per frame as a share of the peer's, for one caller and for many: less is better."""
    out = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    out.title = (
        f"JPEG bytes to boxes, NMS included: one caller with {CORES} threads, {CORES} callers with one each"
    )
    for title in ("frames", "engine", "ms", f"{CORES} callers/s", "", "time", f"{CORES} callers"):
        out.add_column(title, justify="left" if title in ("frames", "engine", "") else "right", no_wrap=True)
    by_name = {(row.frames, row.engine): row for row in rows}
    for row in rows:
        against = ("", "", "")
        if row.engine in GOALS:
            peer_name, goal = GOALS[row.engine]
            peer = by_name[row.frames, peer_name]
            against = (
                f"of {peer_name}",
                f"{row.one_ms / peer.one_ms:.2f} (goal {goal:g})",
                f"{peer.many_per_s / row.many_per_s:.2f}",
            )
        out.add_row(row.frames, row.engine, f"{row.one_ms:.1f}", f"{row.many_per_s:.1f}", *against)
    return out


def _engines(models: dict[str, Path], onnx: Path, threads: int) -> dict[str, Factory]:
    """Ours chooses its threads itself; the peers are told: all cores for one caller, one for each of many."""
    return {
        "ours fp32": Ours(models["fp32"]),
        "ours bf16": Ours(models["bf16"]),
        "ONNX Runtime fp32": Peers("onnxruntime", onnx, threads),
        "OpenVINO fp32": Peers("openvino-f32", onnx, threads),
        "OpenVINO bf16": Peers("openvino-bf16", onnx, threads),
    }
