"""`sightline bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from model.child import bound
from sightline.commands.options import DEFAULT_IMGSZ, imgsz_hw
from sightline.console import table_console

if TYPE_CHECKING:
    from sightline.models import ServedModel

app = typer.Typer(no_args_is_help=True)

WeightsOption = Annotated[str, typer.Option(help="A .pt file, a known name, or demo.")]
FolderOption = Annotated[Path, typer.Option(help="Where exported models are kept.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="Turns of each contender.")]
FramesOption = Annotated[int, typer.Option(min=1, help="Frames of a turn, per caller.")]


@app.callback()
def bench() -> None:
    """Measure: the engine against its peers, the stack against the engine."""


@app.command()
def engine(
    weights: WeightsOption = "demo",
    folder: FolderOption = Path("runs/bench"),
    rounds: RoundsOption = 8,
    frames: FramesOption = 10,
) -> None:
    """JPEG bytes to boxes in one process: ours against ONNX Runtime and OpenVINO, taking turns."""
    import onnxruntime  # noqa: F401  # missing extras are told before anything is exported
    import openvino  # noqa: F401

    from model.weights import locate, sha256
    from sightline.bench.engine import run, shapes_hw
    from sightline.bench.peers import onnx_file

    console = table_console()
    path = locate(weights)
    models = {precision: _model(folder, weights, precision, console) for precision in ("fp32", "bf16")}
    onnx = folder / f"onnx-{sha256(path)[:12]}"
    if not all(onnx_file(onnx, hw).exists() for hw in shapes_hw()):
        console.print("exporting to ONNX ...")
        code = (
            "import sys, pathlib\nfrom sightline.bench import engine, peers\n"
            "peers.export_onnx(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), engine.shapes_hw())"
        )
        # In a process of its own: torch's threads are not to be beside those that are measured.
        done = subprocess.run(
            bound([sys.executable, "-c", code, str(path), str(onnx)]), capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"cannot export to ONNX: {done.stderr.strip().splitlines()[-1]}")
    run(models, onnx, rounds, frames, console)


@app.command()
def stack(
    weights: WeightsOption = "demo",
    folder: FolderOption = Path("runs/bench"),
    rounds: RoundsOption = 3,
    frames: FramesOption = 20,
    precision: Annotated[str, typer.Option(help="fp32 or bf16; auto: bf16 where the CPU has it.")] = "auto",
) -> None:
    """What each hop costs: the engine in process, through server, relay and mesh, all started four times
    (7 minutes)."""
    from model.export import resolve_precision
    from sightline.bench.stack import run

    console = table_console()
    run(
        _served(folder, weights, resolve_precision(precision), console),
        folder / "logs",
        rounds,
        frames,
        console,
    )


@app.command()
def server(
    seconds: Annotated[
        float,
        typer.Option(
            min=0.1, help="Of the model that does nothing: seconds with one caller, and again with all."
        ),
    ] = 5,
    callers: Annotated[int, typer.Option(min=2, help="Callers at once.")] = 4,
    weights: WeightsOption = "demo",
    folder: FolderOption = Path("runs/bench"),
    precision: Annotated[str, typer.Option(help="fp32 or bf16; auto: bf16 where the CPU has it.")] = "auto",
) -> None:
    """What the embedded server itself costs: with a model that does nothing, with a detector beside calling it in
    process, with and without batches, and while a version loads (7 minutes)."""
    from model.export import resolve_precision
    from sightline.bench.server import run

    console = table_console()
    run(_served(folder, weights, resolve_precision(precision), console), seconds, callers, console)


@app.command()
def relay(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each of the steady loads.")] = 10,
    streams: Annotated[int, typer.Option(min=10, help="Streams of the largest load.")] = 1000,
) -> None:
    """What the relay itself costs, with a model server that answers at once: frames, streams, idle streams."""
    from sightline.bench.relay import run

    run(seconds, streams, table_console())


@app.command()
def age(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each of the four measurements.")] = 20,
    weights: WeightsOption = "demo",
    folder: FolderOption = Path("runs/bench"),
    precision: Annotated[str, typer.Option(help="fp32 or bf16; auto: bf16 where the CPU has it.")] = "auto",
) -> None:
    """How old results really are, beside the loop `read, predict, show`: unloaded, and at 4 times the load."""
    from model.export import resolve_precision
    from sightline.bench.age import run

    console = table_console()
    run(_served(folder, weights, resolve_precision(precision), console), folder / "logs", seconds, console)


@app.command()
def soak(
    seconds: Annotated[float, typer.Option(min=10, help="How long.")] = 1800,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras of 15 frames/s.")] = 8,
    weights: WeightsOption = "demo",
    folder: FolderOption = Path("runs/bench"),
    precision: Annotated[str, typer.Option(help="fp32 or bf16; auto: bf16 where the CPU has it.")] = "auto",
) -> None:
    """The stack at full load for long: memory, descriptors, and whether every frame is accounted for."""
    from model.export import resolve_precision
    from sightline.bench.soak import run

    console = table_console()
    model = _served(folder, weights, resolve_precision(precision), console)
    raise typer.Exit(0 if run(model, folder / "soak", seconds, cameras, console) else 1)


def _model(folder: Path, weights: str, precision: str, console: Console) -> Path:
    """The version folder of these weights in this precision."""
    served = _served(folder, weights, precision, console)
    return served.base / str(served.version)


def _served(folder: Path, weights: str, precision: str, console: Console) -> ServedModel:
    from sightline.models import prepare

    return prepare(folder, weights, imgsz_hw(DEFAULT_IMGSZ), precision, 1, console.print)
