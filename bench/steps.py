"""`python -m bench.steps`: what each step towards a fast engine is worth (about 5 minutes).

The engine as it is and without one of the steps at a time, taking turns; docs/performance.md quotes the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.worker import Detect, take_turns
from sightline.console import table_console

CORES = len(os.sched_getaffinity(0))
AS_IT_IS = "as it is, bf16"
ALL_THREADS = "all threads in each call"
SPINNING = "threads that wait by spinning"


def silu_op() -> None:
    """SiLU as TensorFlow's own op, which its oneDNN pass does not fuse into the convolution."""
    from model import network
    from model.quiet import tf

    network._silu = tf.nn.silu


def c2f_split() -> None:
    """C2f as Ultralytics writes it: one convolution, then a split."""
    from model import network
    from model.quiet import tf

    def c2f(self: Any, x: tf.Tensor, layer: Any) -> tf.Tensor:
        parts = list(tf.split(self._conv(x, layer.cv1), 2, -1))
        y = parts[-1]
        for bottleneck in layer.m:
            z = self._conv(self._conv(y, bottleneck.cv1), bottleneck.cv2)
            y = y + z if bottleneck.add else z
            parts.append(y)
        return self._conv(tf.concat(parts, -1), layer.cv2)

    network.Network._c2f = c2f  # type: ignore[method-assign]


def square() -> None:
    """Every frame in a square of imgsz, as most servers do."""
    from model import preprocess
    from model.quiet import tf

    place = preprocess._place

    def squared(frame_hw: tf.Tensor, imgsz: tuple[int, int]) -> preprocess.Placement:
        placed = place(frame_hw, imgsz)
        border = tf.cast(imgsz - placed.resized_hw, tf.float64)
        top_left = tf.cast(tf.round(border / 2 - 0.1), tf.int32)
        return preprocess.Placement(
            placed.frame_hw, placed.gain, placed.resized_hw, tf.constant(imgsz, tf.int32), top_left
        )

    preprocess._place = squared


def full_decode() -> None:
    """Large JPEGs decoded at their full size."""
    from model import preprocess

    preprocess.REDUCED_MARGIN = 1e9


def boxes_everywhere() -> None:
    """The box half's features at all places, not only where a class is likely."""
    from model import network
    from model.quiet import tf

    def everywhere(self: Any, x: tf.Tensor, layers: Any, places: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(self._conv(self._conv(x, layers[0]), layers[1]), places)

    network.Network._box_at = everywhere  # type: ignore[method-assign]


def spin() -> None:
    """Threads of TensorFlow's pools as its default has them: for a while they wait for work by spinning."""
    from model.quiet import tf

    session = tf.compat.v1.Session

    def spinning(graph: Any, config: Any) -> Any:
        config.experimental.disable_thread_spinning = False
        return session(graph=graph, config=config)

    tf.compat.v1.Session = spinning


def nothing() -> None:
    """No change."""


@dataclass(frozen=True)
class Version:
    """The exported version in `folder`; `by_load`: threads by load, as the server runs it; `change` comes before."""

    folder: Path
    by_load: bool = True
    change: Callable[[], None] = nothing

    def __call__(self, callers: int) -> list[Detect]:
        """What each of `callers` calls."""
        import numpy as np

        import model.quiet  # noqa: F401
        from model import contract
        from serving.sessions import SessionOptions, load

        self.change()
        engine = load(str(self.folder), options=SessionOptions(by_load=self.by_load))

        def detect(jpeg: bytes) -> object:
            image = np.array([jpeg], object)
            return engine.run(contract.SIGNATURE, {contract.INPUT_IMAGE_BYTES: image})

        return [detect] * callers


# What is taken away, and the precision; without a step, the others stay.
WITHOUT: Mapping[str, tuple[Callable[[], None], str]] = {
    AS_IT_IS: (nothing, "bf16"),
    "in fp32": (nothing, "fp32"),
    "square input": (square, "bf16"),
    "SiLU by its own op": (silu_op, "bf16"),
    "C2f with a split": (c2f_split, "bf16"),
    "boxes' features everywhere": (boxes_everywhere, "bf16"),
    "large JPEGs decoded in full": (full_decode, "bf16"),
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="What each step is worth.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help="lines of the table; default: all")
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/steps"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--export", help="(used by itself) export one variant", choices=WITHOUT)
    args = parser.parse_args()
    if args.export:
        _export(args.export, args.weights, args.folder)
        return
    steps = [*WITHOUT, ALL_THREADS, SPINNING]
    if unknown := set(args.steps) - set(steps):
        parser.error(f"no step {unknown.pop()!r}; there are {', '.join(map(repr, steps))}")
    wanted = {AS_IT_IS, *(args.steps or steps)}
    versions = {}
    for name in (name for name in WITHOUT if name in wanted):
        folder = _folder(args.folder, name)
        if not folder.exists():  # in a process of its own: a variant changes the modules that build the graph
            arguments = ["--weights", args.weights, "--folder", str(args.folder), "--export", name]
            subprocess.run([sys.executable, "-m", "bench.steps", *arguments], check=True)
        versions[name] = Version(folder)
    if ALL_THREADS in wanted:
        versions[ALL_THREADS] = Version(_folder(args.folder, AS_IT_IS), by_load=False)
    if SPINNING in wanted:
        versions[SPINNING] = Version(_folder(args.folder, AS_IT_IS), change=spin)
    console = table_console()
    for frames, size_wh in {**SIZES_WH, "4K 3840x2160": (3840, 2160)}.items():
        if frames.startswith("square"):
            continue
        images = jpegs(size_wh)
        one, many = (take_turns(dict(versions), n, images, args.rounds, args.frames) for n in (1, CORES))
        ms = {name: 1e3 * statistics.median(s for t in one[name] for s in t.latencies_s) for name in versions}
        rate = {name: statistics.median(t.frames_per_s for t in many[name]) for name in versions}
        console.print(_table(frames, ms, rate))


def _folder(base: Path, name: str) -> Path:
    return base / name.replace(" ", "-").replace(",", "").replace("'", "") / "1"


def _export(name: str, weights: str, base: Path) -> None:
    from model.export import ExportConfig, export

    change, precision = WITHOUT[name]
    change()
    export(ExportConfig(weights, _folder(base, name).parent, precision=precision, model_version=1))


def _table(frames: str, ms: Mapping[str, float], rate: Mapping[str, float]) -> Table:
    out = Table(box=None, pad_edge=False, header_style="dim")
    for title in (frames, "1 caller, ms", "× time", f"{CORES} callers/s", "× rate"):
        out.add_column(title, justify="left" if title == frames else "right", no_wrap=True)
    for name in ms:
        out.add_row(
            name, f"{ms[name]:.1f}", f"{ms[name] / ms[AS_IT_IS]:.2f}",
            f"{rate[name]:.1f}", f"{rate[name] / rate[AS_IT_IS]:.2f}",
        )  # fmt: skip
    return out


if __name__ == "__main__":
    main()
