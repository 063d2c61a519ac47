"""The sinks of a run of `sightline detect`: those that all cameras share, and those of one camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from client.choose import Choice
from client.detect_config import CameraConfig, DetectConfig
from client.report import CameraReport
from client.sinks import AnnotatedImages, AnnotatedVideo, JsonLines, QueuedSink, Sink, Table, Webhook
from client.sinks.drawing import file_stem
from client.sources import ImageSource, OpenedSource
from client.types import Result

if TYPE_CHECKING:
    from client.sinks.counts import Counts

# Results that may wait for a sink. Pictures are big; lines of JSON are some KB; a webhook gets fresh ones.
IMAGE_QUEUE, LINE_QUEUE, POST_QUEUE = 8, 4096, 64
SNAPSHOT_EVERY_S = 1.0


def shared_sinks(
    config: DetectConfig, console: Console, reports: Callable[[], Sequence[CameraReport]]
) -> list[QueuedSink[Any]]:
    """The sinks that results of all cameras go to. `reports`: how the cameras are.

    Raises:
        SinkError: one cannot be opened.
        ModuleNotFoundError: its extra is not installed.
    """
    sinks: list[tuple[Sink[Any], int]] = []
    if config.jsonl:
        sinks.append((JsonLines(config.jsonl), LINE_QUEUE))
    if config.table:
        sinks.append((Table(console), LINE_QUEUE))
    if config.webhook:
        sinks.append((Webhook(config.webhook), POST_QUEUE))
    if config.mqtt:
        from client.sinks.mqtt import Mqtt

        sinks.append((Mqtt(config.mqtt), LINE_QUEUE))
    if config.metrics:
        from client.sinks.metrics import Metrics

        sinks.append((Metrics(config.metrics, reports), LINE_QUEUE))
    if config.traces:
        from client.sinks.traces import Traces

        sinks.append((Traces(), LINE_QUEUE))
    return [QueuedSink(sink, size) for sink, size in sinks]


def open_counts(camera_id: str, camera: CameraConfig, path: str) -> Counts | None:
    """What counts a camera's lines and zones, if it has any. `path`: see Counts.

    Raises:
        SinkError: the file cannot be opened.
        ModuleNotFoundError: the extra `track` is not installed.
    """
    if camera.tracks:
        import client.track  # noqa: F401  # a missing extra is told before anything starts
    if not camera.lines and not camera.zones:
        return None
    from client.sinks.counts import Counts

    return Counts(camera_id, camera.lines, camera.zones, path)


def tracking(camera: CameraConfig, fps: float) -> list[Callable[[Result], Result]]:
    """The step that numbers a camera's objects, where that is asked for."""
    if not camera.tracks:
        return []
    from client.track import Tracker

    return [Tracker(fps).apply]


def camera_sinks(
    camera: CameraConfig, source: OpenedSource, folder: Path | None, snapshots: Choice, counts: Counts | None
) -> list[QueuedSink[Any]]:
    """The sinks of one camera alone. `folder`: where its pictures go. `snapshots`: what chooses them."""
    sinks: list[QueuedSink[Any]] = []
    wait = not source.live
    if camera.save and folder is not None:
        pictures: Sink[Any] = (
            AnnotatedImages(folder)
            if isinstance(source, ImageSource)
            else AnnotatedVideo(folder / f"{file_stem(source.camera_id)}.mp4", source.fps, live=source.live)
        )
        sinks.append(QueuedSink(pictures, IMAGE_QUEUE, wait=wait))
    if camera.snapshots and folder is not None:
        chosen = AnnotatedImages(folder / "snapshots", snapshots, SNAPSHOT_EVERY_S)
        sinks.append(QueuedSink(chosen, IMAGE_QUEUE, wait=wait))
    if counts is not None:
        sinks.append(QueuedSink(counts, LINE_QUEUE, wait=wait))
    return sinks
