"""`sightline rollout`: a new version for the frames of the local mesh, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

FOLDER = "runs/up/rollout"
FolderOption = Annotated[Path, typer.Option(help="What the mesh follows; `sightline up` serves this one.")]


@app.callback()
def rollout() -> None:
    """Move the local mesh's frames to a new version, judged by what it sees."""


@app.command()
def start(
    to: Annotated[str, typer.Option(help="The subset of the new version; after a promotion, v1.")] = "v2",
    steps: Annotated[
        str, typer.Option(help="Its share of the frames, in percent; 0: judged by the shadow alone.")
    ] = "5,20,50,100",
    hold: Annotated[str, typer.Option(help="How long each step is judged for, at least.")] = "30s",
    gates: Annotated[
        Path | None, typer.Option(help="The limits. Default: those of k8s/components/rollout-gates.")
    ] = None,
    model_config: Annotated[
        Path | None,
        typer.Option(help="A --model_config_file that servers poll; a promotion moves its label `stable`."),
    ] = None,
    folder: FolderOption = Path(FOLDER),
    reports: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("runs/rollout"),
) -> None:
    """Run a rollout to its end, or go on with one whose controller was killed. Exit status 0 if it was promoted."""
    from sightline.rollout.command import start as run
    from sightline.rollout.config import RolloutConfig, seconds_of, steps_of
    from sightline.rollout.gates import gates_file, read_gates

    limits = read_gates(gates or gates_file())
    config = RolloutConfig(limits, to, steps_of(steps), seconds_of(hold), model_config)
    raise typer.Exit(run(config, folder, reports, print))


@app.command()
def status(folder: FolderOption = Path(FOLDER)) -> None:
    """Say where the rollout is, and what its gates say."""
    from sightline.rollout.command import status as run

    for line in run(folder):
        print(line)


@app.command()
def pause(folder: FolderOption = Path(FOLDER)) -> None:
    """Stay at the present step; a gate that fails still goes back."""
    _tell("pause", folder)


@app.command()
def promote(folder: FolderOption = Path(FOLDER)) -> None:
    """End a pause, or the present step's hold."""
    _tell("promote", folder)


@app.command()
def abort(folder: FolderOption = Path(FOLDER)) -> None:
    """Give the new version no more frames, now."""
    _tell("abort", folder)


def _tell(name: str, folder: Path) -> None:
    from sightline.rollout.command import tell
    from sightline.rollout.state import Command

    print(tell(Command(name), folder))
