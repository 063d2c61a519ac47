"""`sightline detect` and `sightline up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.detect_config import DetectConfig
from client.security import Security
from model import contract
from sightline.commands.options import (
    DEFAULT_IMGSZ,
    ImgszOption,
    PrecisionOption,
    ShadowPairsOption,
    ShadowPercentOption,
    imgsz_hw,
)

SOURCE_HELP = "0 (webcam), a video, an RTSP or HTTP URL, a folder, a glob, an image, or synthetic."

ConfOption = Annotated[
    float, typer.Option(help="Keep detections that score as much; 0: all that the model gives.")
]
ClassesOption = Annotated[
    list[str] | None, typer.Option(help="Keep these classes only: names or ids, as in 0,2.")
]
MaxAgeOption = Annotated[
    float | None, typer.Option(help="Drop frames older than this, in seconds. Default: 0.2 for live sources.")
]
DurationOption = Annotated[float, typer.Option(help="Stop after so many seconds of streaming; 0: never.")]
JsonlOption = Annotated[
    str, typer.Option(help="Append a JSON line per frame to this file; -: standard output.")
]
SaveOption = Annotated[bool, typer.Option("--save", help="Write annotated videos and images.")]


def detect(
    sources: Annotated[list[str], typer.Argument(help=SOURCE_HELP)],
    relay: Annotated[str, typer.Option(help="The relay's host:port.")] = "127.0.0.1:8600",
    server: Annotated[str, typer.Option(help="Ask a TF Serving at this host:port instead of a relay.")] = "",
    ca: Annotated[
        Path | None, typer.Option(help="TLS: the PEM file of the authority behind the relay's gateway.")
    ] = None,
    token: Annotated[
        Path | None,
        typer.Option(help="File with the camera's token for the gateway (see: sightline mesh token)."),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help=f"The model's name there. Default: {contract.MODEL_NAME}.")
    ] = None,
    conf: ConfOption = 0.0,
    classes: ClassesOption = None,
    imgsz: Annotated[
        int, typer.Option(help="Send larger pictures scaled down to this side; 0: as they are.")
    ] = 0,
    jpeg_quality: Annotated[int, typer.Option(help="1 to 100.")] = 85,
    max_age: MaxAgeOption = None,
    vid_stride: Annotated[int, typer.Option(help="Take every Nth frame of videos and cameras.")] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Pace a video or the synthetic camera at this rate.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a video or folder again at its end.")] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Read a video as fast as results come; drop nothing.")
    ] = False,
    duration: DurationOption = 0.0,
    wait: Annotated[
        float, typer.Option(help="Seconds to try for a relay or server that is not there.")
    ] = 5.0,
    save: SaveOption = False,
    show: Annotated[bool, typer.Option("--show", hidden=True)] = False,
    jsonl: JsonlOption = "",
    project: Annotated[str, typer.Option(help="Folder of saved runs.")] = "runs/detect",
    name: Annotated[str, typer.Option(help="This run's folder in it.")] = "predict",
) -> None:
    """Stream sources through the relay and show, count and save what is found."""
    from client.detect import run

    if show:
        raise ValueError(
            "--show: there are no windows in the headless OpenCV; --save writes annotated pictures"
        )
    if model_name is not None and not server:
        raise ValueError("--model-name goes with --server; which model a relay asks is its own --model-name")
    config = DetectConfig(
        sources=tuple(sources),
        relay=relay,
        server=server,
        model_name=model_name or contract.MODEL_NAME,
        security=Security.of_files(ca, token),
        conf=conf,
        classes=_class_list(classes),
        imgsz=imgsz,
        jpeg_quality=jpeg_quality,
        max_age_s=max_age,
        vid_stride=vid_stride,
        fps=fps,
        loop=loop,
        every_frame=every_frame,
        duration_s=duration,
        wait_s=wait,
        save=save,
        jsonl=jsonl,
        project=project,
        name=name,
    )
    raise typer.Exit(run(config).exit_code)


def up(
    sources: Annotated[list[str] | None, typer.Argument(help=SOURCE_HELP + " Default: synthetic.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Default: yolov8n.pt, or the demo weights where it can't be fetched.")
    ] = None,
    imgsz: ImgszOption = DEFAULT_IMGSZ,
    mesh: Annotated[
        bool,
        typer.Option(
            "--mesh/--no-mesh", help="Join the parts by istio/ in Envoy, v1 in fp32 and v2 in bf16."
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
    from sightline.ports import Ports
    from sightline.up import UpConfig
    from sightline.up import up as run

    detect_config = DetectConfig(
        sources=tuple(sources or ["synthetic"]),
        conf=conf,
        classes=_class_list(classes),
        max_age_s=max_age,
        duration_s=duration,
        save=save,
        jsonl=jsonl,
        project="runs/up",
        name="saved",
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


def _class_list(options: list[str] | None) -> tuple[str, ...]:
    """`--classes 0,2 --classes dog` -> ("0", "2", "dog")."""
    return tuple(part for option in options or () for part in option.split(","))
