"""What `sightline detect` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from client.channel import split_address
from client.choose import Choice
from client.security import Security
from client.sources import SourceOptions
from client.stream import DEFAULT_TARGET, StreamConfig
from model.contract import MODEL_NAME

MAX_AGE_S = 0.2  # of live sources, unless another is asked for


@dataclass(frozen=True)
class DetectConfig:
    """What to detect, through whom, and where results go.

    `sources`: as `client.sources.open_source` takes them. `relay`: its host:port; `server`: host:port of a TF
    Serving to call without a relay, then `model_name` names the model. `security`: TLS and tokens towards the relay.
    `conf`, `classes`: see `client.choose.Choice`. `imgsz`: larger pictures are sent scaled down to this longer side
    (pixels; 0: as they are); encoded image files always travel as they are. `jpeg_quality`: 1 to 100.
    `max_age_s`: frames older than this are dropped as expired; 0: none; None: 0.2 s for live sources, none for
    those that wait. `vid_stride`, `fps`, `loop`, `every_frame`: see `client.sources.SourceOptions`.
    `duration_s`: seconds of streaming, from the first result; 0: until the sources end or a signal comes.
    `wait_s`: how long to try for a relay or server that is not there.
    `save`: annotated videos and images into `project`/`name` (a number is appended where that is taken).
    `jsonl`: file to append JSON Lines to; `-`: standard output.

    Raises:
        ValueError: an option is out of its range.
    """

    sources: tuple[str, ...]
    relay: str = DEFAULT_TARGET
    server: str = ""
    model_name: str = MODEL_NAME
    security: Security = field(default_factory=Security)
    conf: float = 0.0
    classes: tuple[str, ...] = ()
    imgsz: int = 0
    jpeg_quality: int = 85
    max_age_s: float | None = None
    vid_stride: int = 1
    fps: float | None = None
    loop: bool = False
    every_frame: bool = False
    duration_s: float = 0.0
    wait_s: float = 5.0
    save: bool = False
    jsonl: str = ""
    project: str = "runs/detect"
    name: str = "predict"

    def __post_init__(self) -> None:
        if not self.sources or not all(self.sources):
            raise ValueError("sources: expected at least one, such as 0, clip.mp4, a folder or synthetic")
        if self.duration_s < 0 or self.wait_s <= 0:
            raise ValueError("duration: expected 0 or more seconds; wait: more than 0")
        if self.server:
            split_address(self.server, "server")
        else:
            split_address(self.relay, "relay")
        Choice(self.conf, self.classes)
        self.source_options()
        self.stream_config(live=True)

    def source_options(self) -> SourceOptions:
        """How sources are opened. One of several cameras may be off at the start; a single one may not."""
        several = len(self.sources) > 1
        return SourceOptions(self.vid_stride, self.fps, self.loop, self.every_frame, patient=several)

    def stream_config(self, *, live: bool) -> StreamConfig:
        """How a source's frames are streamed."""
        default_s = MAX_AGE_S if live else 0.0
        return StreamConfig(
            max_age_s=default_s if self.max_age_s is None else self.max_age_s,
            jpeg_quality=self.jpeg_quality,
            max_side_px=self.imgsz,
            connect_timeout_s=self.wait_s,
            backoff_max_s=min(1.0, self.wait_s),  # so that giving up comes about when it should
        )
