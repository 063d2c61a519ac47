"""`sightline detect`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from model import contract

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


SourcesArgument = Annotated[list[str] | None, typer.Argument(help=SOURCE_HELP, show_default=False)]


def detect(
    context: typer.Context,
    sources: SourcesArgument = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of a fleet: these options, and cameras with options of their own."),
    ] = None,
    relay: Annotated[str, typer.Option(help="The relay's host:port.")] = "127.0.0.1:8600",
    server: Annotated[str, typer.Option(help="Ask a TF Serving at this host:port instead of a relay.")] = "",
    ca: Annotated[
        str, typer.Option(help="TLS: the PEM file of the authority behind the relay's gateway.")
    ] = "",
    token: Annotated[
        str,
        typer.Option(help="File with the camera's token for the gateway (see: sightline mesh token)."),
    ] = "",
    model_name: Annotated[
        str, typer.Option(help="The model's name there; goes with --server.")
    ] = contract.MODEL_NAME,
    conf: ConfOption = 0.0,
    classes: ClassesOption = None,
    imgsz: Annotated[
        int, typer.Option(help="Send larger pictures scaled down to this side; 0: as they are.")
    ] = 0,
    jpeg_quality: Annotated[int, typer.Option(help="1 to 100.")] = 85,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="Lower quality and size while the network is too slow for --max-age."),
    ] = False,
    max_age: MaxAgeOption = None,
    priority: Annotated[
        int, typer.Option(help="1 to 10: share of the model server beside other cameras.")
    ] = 1,
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
    track: Annotated[bool, typer.Option("--track", help="Number objects from frame to frame.")] = False,
    save: SaveOption = False,
    snapshots: Annotated[
        list[str] | None,
        typer.Option(
            help="Save an annotated image when one of these classes is there, at most one a second."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", hidden=True)] = False,
    table: Annotated[bool, typer.Option("--table", help="Print a row per result.")] = False,
    jsonl: JsonlOption = "",
    mqtt: Annotated[
        str, typer.Option(help="Publish results to mqtt://user:password@host:port/topic (mqtts: with TLS).")
    ] = "",
    webhook: Annotated[str, typer.Option(help="POST each result to this URL.")] = "",
    metrics: Annotated[
        str, typer.Option(help="Serve Prometheus metrics at this host:port, such as 127.0.0.1:8610.")
    ] = "",
    traces: Annotated[
        bool, typer.Option("--traces", help="Send spans to an OpenTelemetry collector (OTEL_* say which).")
    ] = False,
    project: Annotated[str, typer.Option(help="Folder of saved runs.")] = "runs/detect",
    name: Annotated[str, typer.Option(help="This run's folder in it.")] = "predict",
) -> None:
    """Stream sources through the relay and show, count and save what is found."""
    from client.detect import run
    from client.detect_config import configure
    from client.detect_file import load

    if show:
        raise ValueError(
            "--show: there are no windows in the headless OpenCV; --save writes annotated pictures"
        )
    # The commands' parameters are the options' names; what was not given is left to the file or the defaults.
    options = {
        option: names(value) if isinstance(value, list | tuple) else value
        for option, value in context.params.items()
        if option not in {"sources", "config", "show"}
        and getattr(context.get_parameter_source(option), "name", "DEFAULT") != "DEFAULT"
    }
    if config is None:
        if not sources:
            raise typer.BadParameter("expected one or more, or --config FILE", param_hint="sources")
        detection = configure([{"source": source} for source in sources], options)
    else:
        if sources:
            raise ValueError("--config: expected no sources beside the file, which names its own")
        detection = load(config, options)
    if "model_name" in options and not detection.server:
        raise ValueError("--model-name goes with --server; which model a relay asks is its own --model-name")
    raise typer.Exit(run(detection).exit_code)


def names(options: Iterable[str] | None) -> tuple[str, ...]:
    """`--classes 0,2 --classes dog` -> ("0", "2", "dog")."""
    return tuple(part for option in options or () for part in option.split(","))
