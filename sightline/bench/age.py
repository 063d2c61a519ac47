"""How old a result really is: read from the stamp in its picture's pixels, so that decoding and buffers count.

Our client beside the loop that everybody writes first: read a frame, predict, show.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from client import DetectionStream, SourceOptions, Status, StreamConfig, open_source
from client.channel import CHANNEL_OPTIONS
from client.encode import encode_jpeg
from client.predict import PREDICT, parse_response, request_bytes
from client.sources.capture import quiet
from model.child import bound
from model.contract import MODEL_NAME, SIGNATURE
from model.street import read_stamp
from sightline.bench.images import jpegs
from sightline.bench.mjpeg import QUALITY, SIZE_WH
from sightline.models import ServedModel
from sightline.ports import LOOPBACK, Ports, free_port
from sightline.processes import Children
from sightline.stack import plain_stack

SETTLE_S = 3.0  # FFmpeg hoards pictures while it opens a stream; what they cost is not what lasts
UNLOADED, OVERLOAD = 0.25, 4.0  # shares of what the machine can infer
MAX_AGE_S = 0.2

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """A way at a load: results in a second, and their true ages in milliseconds."""

    load: str
    offered_fps: float
    way: str
    fps: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


def run(model: ServedModel, logs: Path, seconds: float, console: Console) -> list[Row]:
    """Start a server and a relay; measure each way for `seconds` at both loads, and print. Returns the rows."""
    ports = Ports(*(free_port() for _ in fields(Ports)))
    rows = []
    with Children(logs) as children, plain_stack(children, model, ports) as entrance:
        server = f"{LOOPBACK}:{ports.port}"
        capacity = capacity_per_s(server)
        console.print(f"one caller infers {capacity:.0f} frames/s of {SIZE_WH[0]}x{SIZE_WH[1]} here")
        for load, share in (("unloaded", UNLOADED), ("overload", OVERLOAD)):
            offered = share * capacity
            for way, measure in (("Sightline", ours), ("read, predict, show", naive)):
                target = entrance.address if measure is ours else server
                with camera(offered) as url:
                    rows.append(row(load, offered, way, list(measure(url, target, seconds)), seconds))
    console.print(table(rows))
    return rows


def ours(url: str, relay: str, seconds: float) -> Iterator[float]:
    """The true age of each delivered result, in seconds."""
    end_s = time.monotonic() + SETTLE_S + seconds
    source = open_source(url, SourceOptions())
    with DetectionStream(source, relay, StreamConfig(max_age_s=MAX_AGE_S)) as stream:
        for result in stream:
            now_s = time.monotonic()
            if now_s >= end_s:
                return
            if result.status is Status.DELIVERED and now_s >= end_s - seconds:
                assert result.frame.image_bgr is not None
                yield true_age_s(result.frame.image_bgr)


def naive(url: str, server: str, seconds: float) -> Iterator[float]:
    """The same of the loop: each frame is predicted as it comes out of the capture."""
    end_s = time.monotonic() + SETTLE_S + seconds
    with quiet():
        capture = cv2.VideoCapture(url)
    with predicting(server) as predict:
        while (now_s := time.monotonic()) < end_s:
            read, picture = capture.read()
            if not read:
                raise RuntimeError("the camera ended")
            predict(encode_jpeg(np.asarray(picture, np.uint8), QUALITY, 0))
            if now_s >= end_s - seconds:
                yield true_age_s(np.asarray(picture, np.uint8))
    capture.release()


def true_age_s(picture_bgr: Picture) -> float:
    """Seconds since the picture was stamped, by the one clock of this machine."""
    stamp = read_stamp(picture_bgr)
    if stamp is None:
        raise RuntimeError("expected a stamp in the picture; its checksum fails")
    return (time.time_ns() - stamp.time_unix_ns) / 1e9


@contextlib.contextmanager
def predicting(server: str) -> Iterator[Callable[[bytes], None]]:
    """A function that has one JPEG inferred."""
    with grpc.insecure_channel(server, CHANNEL_OPTIONS) as channel:
        call = channel.unary_unary(PREDICT)

        def predict(image: bytes) -> None:
            parse_response(call(request_bytes(MODEL_NAME, SIGNATURE, image), timeout=30)).detections()

        yield predict


def capacity_per_s(server: str) -> float:
    """Frames that one caller gets inferred in a second."""
    images = jpegs(SIZE_WH)
    with predicting(server) as predict:
        for image in images[:10]:
            predict(image)
        took_s = []
        for number in range(60):
            started_s = time.monotonic()
            predict(images[number % len(images)])
            took_s.append(time.monotonic() - started_s)
    return 1 / statistics.median(took_s)


@contextlib.contextmanager
def camera(fps: float) -> Iterator[str]:
    """A camera process at that rate; its URL."""
    process = subprocess.Popen(
        bound([sys.executable, "-m", "sightline.bench.mjpeg", str(fps)]), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://{LOOPBACK}:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.communicate()


def row(load: str, offered: float, way: str, ages_s: list[float], seconds: float) -> Row:
    """The figures of one measurement."""
    p50, p99, worst = np.percentile(ages_s, [50, 99, 100]) * 1e3 if ages_s else (math.nan,) * 3
    return Row(load, offered, way, len(ages_s) / seconds, p50, p99, worst)


def table(rows: list[Row]) -> Table:
    """A line for each way and load."""
    printed = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        title="age of results, from the pixels",
        title_justify="left",
    )
    for title in ("load", "way"):
        printed.add_column(title, no_wrap=True)
    for title in ("offered/s", "results/s", "p50 ms", "p99 ms", "worst ms"):
        printed.add_column(title, justify="right", no_wrap=True)
    for one in rows:
        figures = (one.offered_fps, one.fps, one.p50_ms, one.p99_ms, one.worst_ms)
        printed.add_row(one.load, one.way, *(f"{figure:.0f}" for figure in figures))
    return printed
