"""`sightline up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sightline.commands.detect import (
    SOURCE_HELP,
    ClassesOption,
    ConfOption,
    DurationOption,
    JsonlOption,
    MaxAgeOption,
    SaveOption,
    names,
)
from sightline.commands.options import (
    DEFAULT_IMGSZ,
    ImgszOption,
    PrecisionOption,
    ShadowPairsOption,
    ShadowPercentOption,
    imgsz_hw,
)


def up(
    sources: Annotated[list[str] | None, typer.Argument(help=SOURCE_HELP + " Default: synthetic.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Default: yolov8n.pt, or the demo weights where it can't be fetched.")
    ] = None,
    imgsz: ImgszOption = DEFAULT_IMGSZ,
    mesh: Annotated[
        bool,
        typer.Option(
            "--mesh/--no-mesh",
            help="Join the parts by istio/ in Envoy, v1 in fp32, v2 in bf16 if the CPU has it.",
        ),
    ] = True,
    component: Annotated[
        list[str] | None,
        typer.Option(help="Of istio/components, such as weights/50 or faults/abort; repeatable."),
    ] = None,
    precision: PrecisionOption = "auto",
    conf: ConfOption = 0.0,
    classes: ClassesOption = None,
    max_age: MaxAgeOption = None,
    duration: DurationOption = 0.0,
    save: SaveOption = False,
    jsonl: JsonlOption = "",
    port: Annotated[int, typer.Option(help="The model server's gRPC port.")] = 8500,
    rest_api_port: Annotated[int, typer.Option(help="The model server's REST port.")] = 8501,
    relay_port: Annotated[int, typer.Option(help="The relay's port for cameras.")] = 8600,
    http_port: Annotated[
        int, typer.Option(help="The relay's HTTP port: live page, /v1/detect, /metrics.")
    ] = 8601,
    gateway_port: Annotated[int, typer.Option(help="The gateway's port for cameras, in the mesh.")] = 8443,
    models: Annotated[Path, typer.Option(help="Folder of exported models.")] = Path("runs/models"),
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Run a Prometheus with the cluster's rules beside the stack.")
    ] = False,
    shadow_percent: ShadowPercentOption = 0.0,
    shadow_pairs: ShadowPairsOption = 0,
) -> None:
    """Run the whole stack on this machine and stream cameras through it until Ctrl-C."""
    from client.detect_config import configure
    from sightline.ports import Ports
    from sightline.up import UpConfig
    from sightline.up import up as run

    detect_config = configure(
        [{"source": source} for source in sources or ["synthetic"]],
        {
            "conf": conf,
            "classes": names(classes),
            "max_age": max_age,
            "duration": duration,
            "save": save,
            "jsonl": jsonl,
            "project": "runs/up",
            "name": "saved",
        },
    )
    config = UpConfig(
        detect=detect_config,
        weights=weights,
        imgsz=imgsz_hw(imgsz),
        precision=precision,
        mesh=mesh,
        components=tuple(component or ()),
        ports=Ports(port, rest_api_port, relay_port, http_port, gateway_port if mesh else None),
        models=models,
        monitoring=monitoring,
        shadow_percent=shadow_percent,
        shadow_pairs=shadow_pairs,
    )
    raise typer.Exit(run(config, Console(stderr=jsonl == "-")))
