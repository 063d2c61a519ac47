"""What `sightline detect` is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from client.channel import split_address
from client.choose import Choice
from client.security import Security
from client.sources import SourceOptions, camera_ids, check_source
from client.stream import DEFAULT_TARGET, StreamConfig
from model.contract import MODEL_NAME

MAX_AGE_S = 0.2  # of live sources, unless another is asked for

OPTIONS = {"max_age_s": "max_age", "max_side_px": "imgsz"}  # what people call StreamConfig's fields

Points = tuple[tuple[float, float], ...]  # x, y in 0..1 of the frame


@dataclass(frozen=True)
class CameraConfig:
    """One camera, and what becomes of its frames.

    `source`: as `client.sources.open_source` takes it. `id`: its name everywhere; empty: derived from the source.
    `conf`, `classes`: see `client.choose.Choice`. `imgsz`: larger pictures are sent scaled down to this longer side
    (pixels; 0: as they are); encoded image files always travel as they are. `jpeg_quality`: 1 to 100. `adapt`: less
    of both while the network is too slow for results of `max_age_s`.
    `max_age_s`: frames older than this are dropped as expired; 0: none; None: 0.2 s for live sources, none for
    those that wait. `priority`: 1 to 10, its share of the model server beside other cameras.
    `vid_stride`, `fps`, `loop`, `every_frame`: see `client.sources.SourceOptions`.
    `save`: its annotated video, or its annotated images. `snapshots`: classes; an annotated image of a frame on
    which one of them was found, at most one a second. `track`: number objects from frame to frame.
    `lines` (two points) and `zones` (three or more), by name: count what crosses and what is inside; see
    `client.sinks.counts.Counts`. They turn `track` on.

    Raises:
        ValueError: an option is out of its range.
    """

    source: str
    id: str = ""
    conf: float = 0.0
    classes: tuple[str, ...] = ()
    imgsz: int = 0
    jpeg_quality: int = 85
    adapt: bool = False
    max_age_s: float | None = None
    priority: int = 1
    vid_stride: int = 1
    fps: float | None = None
    loop: bool = False
    every_frame: bool = False
    save: bool = False
    snapshots: tuple[str, ...] = ()
    track: bool = False
    lines: Mapping[str, Points] = field(default_factory=dict)
    zones: Mapping[str, Points] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source: expected one, such as 0, clip.mp4, a folder or synthetic")
        if len(self.id.encode()) > 256 or not self.id.isprintable():
            raise ValueError("id: expected up to 256 bytes of printable letters")
        if not 1 <= self.priority <= 10:
            raise ValueError(f"priority: expected 1 to 10, got {self.priority}")
        self.choice()
        self.snapshot_choice()
        self.source_options(patient=False)
        self.stream_config(live=True)
        for name, points in self.lines.items():
            if len(points) != 2 or points[0] == points[1]:
                raise ValueError(f"lines: expected two different points of {name}")
        for name, points in self.zones.items():
            if len(set(points)) < 3:
                raise ValueError(f"zones: expected three or more points of {name}")
        for option, figures in (("lines", self.lines), ("zones", self.zones)):
            for name, points in figures.items():
                if not all(0 <= value <= 1 for point in points for value in point):
                    raise ValueError(
                        f"{option}: expected points of 0 to 1 for {name}, as shares of the frame's sides"
                    )

    @property
    def tracks(self) -> bool:
        """Whether objects are numbered."""
        return self.track or bool(self.lines) or bool(self.zones)

    def choice(self) -> Choice:
        """Which detections are kept."""
        return Choice(self.conf, self.classes)

    def snapshot_choice(self) -> Choice:
        """Which detections make a snapshot."""
        return Choice(classes=self.snapshots)

    def source_options(self, *, patient: bool) -> SourceOptions:
        """How its source is opened. `patient`: it may be off at the start."""
        return SourceOptions(self.vid_stride, self.fps, self.loop, self.every_frame, patient=patient)

    def stream_config(self, *, live: bool, wait_s: float = 5.0) -> StreamConfig:
        """How its frames are streamed."""
        default_s = MAX_AGE_S if live else 0.0
        try:
            return StreamConfig(
                max_age_s=default_s if self.max_age_s is None else self.max_age_s,
                jpeg_quality=self.jpeg_quality,
                max_side_px=self.imgsz,
                adapt=self.adapt,
                connect_timeout_s=wait_s,
                backoff_max_s=min(1.0, wait_s),  # so that giving up comes about when it should
            )
        except ValueError as error:
            name, colon, reason = str(error).partition(":")
            raise ValueError(f"{OPTIONS.get(name, name)}{colon}{reason}") from None


@dataclass(frozen=True)
class DetectConfig:
    """Which cameras, through whom, and where results go.

    `relay`: its host:port; `server`: host:port of a TF Serving to call without a relay, then `model_name` names the
    model. `security`: TLS and tokens towards the relay.
    `duration_s`: seconds of streaming, from the first result; 0: until the sources end or a signal comes.
    `wait_s`: how long to try for a relay or server that is not there.
    `jsonl`: file to append JSON Lines to; `-`: standard output. `mqtt`, `webhook`: URLs, see client.sinks.
    `table`: a row per result on the console. `counts`: file to append changes of lines and zones to.
    `metrics`: host:port to serve Prometheus metrics at.
    `traces`: spans to the OpenTelemetry collector that the environment (OTEL_*) names.
    `project`/`name`: folder of annotated videos and images (a number is appended where that is taken).

    Raises:
        ValueError: an option is out of its range, or two cameras have one id.
    """

    cameras: tuple[CameraConfig, ...]
    relay: str = DEFAULT_TARGET
    server: str = ""
    model_name: str = MODEL_NAME
    security: Security = field(default_factory=Security)
    duration_s: float = 0.0
    wait_s: float = 5.0
    jsonl: str = ""
    mqtt: str = ""
    webhook: str = ""
    table: bool = False
    counts: str = ""
    metrics: str = ""
    traces: bool = False
    project: str = "runs/detect"
    name: str = "predict"

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("sources: expected at least one, such as 0, clip.mp4, a folder or synthetic")
        if not self.duration_s >= 0:
            raise ValueError(f"duration: expected 0 or more seconds, got {self.duration_s:g}")
        if not self.wait_s > 0:
            raise ValueError(f"wait: expected more than 0 seconds, got {self.wait_s:g}")
        if self.server:
            split_address(self.server, "server")
        else:
            split_address(self.relay, "relay")
        if self.metrics:
            split_address(self.metrics, "metrics")
        if self.table and self.jsonl == "-":
            raise ValueError("table: expected --jsonl to be a file then, not standard output")
        self.ids()

    @property
    def patient(self) -> bool:
        """One of several cameras may be off at the start; a single one may not."""
        return len(self.cameras) > 1

    def check_sources(self) -> None:
        """Raise client.errors.SourceError for one that cannot be opened; those on the network are left alone."""
        for camera in self.cameras:
            check_source(camera.source, camera.source_options(patient=self.patient))

    def ids(self) -> list[str]:
        """The cameras' ids, all different: a derived one gets a number where it comes again."""
        given = [camera.id for camera in self.cameras if camera.id]
        derived = camera_ids([camera.source for camera in self.cameras if not camera.id])
        twice = {name for name in given if given.count(name) > 1 or name in derived}
        if twice:
            raise ValueError(f"id: expected another for each camera, got {min(twice)} twice")
        rest = iter(derived)
        return [camera.id or next(rest) for camera in self.cameras]


CAMERA_OPTIONS = frozenset(option.name for option in fields(CameraConfig))
FIELDS = {
    "max_age": "max_age_s",
    "duration": "duration_s",
    "wait": "wait_s",
}  # by the option's name for people


def configure(cameras: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> DetectConfig:
    """A run of `cameras`, each with options of its own, by the names of `sightline detect`'s options.

    `options` are the run's, and defaults for the cameras. `ca` and `token` are files for the run's security.

    Raises:
        ValueError: see CameraConfig and DetectConfig; a file of `ca` or `token` cannot be read.
    """
    values = {FIELDS.get(name, name): value for name, value in options.items()}
    ca, token = (Path(name) if (name := values.pop(key, None)) else None for key in ("ca", "token"))
    if ca or token:
        values["security"] = Security.of_files(ca, token)
    common = {name: values.pop(name) for name in CAMERA_OPTIONS & values.keys()}
    own = ({FIELDS.get(name, name): value for name, value in camera.items()} for camera in cameras)
    return DetectConfig(tuple(CameraConfig(**(common | camera)) for camera in own), **values)
