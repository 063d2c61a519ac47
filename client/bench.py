"""What the relay costs: a null model server, called straight and through a relay, and many cameras before it.

`python -m client.bench` prints the figures of frames one at a time and of a flood; `measure_relay` and `measure` give
them, and those of steady loads, to other programs. The cameras cost next to nothing (`client.bare`,
`client.bench_streams`): on a machine of few cores a relay cannot be measured beside gRPC's Python client.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from client import http2
from client.bare import Stream, Unary
from client.bench_processes import CPU_SECONDS, MEMORY_BYTES, metric, null_server, relay_process
from client.bench_streams import CONNECTED, OVER, WARM, Outcome
from client.predict import PREDICT, parse_response, request_bytes
from client.security import Security
from model.child import bound
from model.contract import MODEL_NAME, SIGNATURE

TURNS = 5  # each with a relay of its own: what others take of a shared machine comes and goes
WARM_UP_FRAMES = 50
AHEAD = 4  # frames of a flooding camera that are under way


@dataclass(frozen=True)
class Steady:
    """One steady load: what its cameras saw, and CPU time of the relay per frame, of the same seconds."""

    streams: int
    fps: float
    image_bytes: int
    outcome: Outcome
    cpu_us: float
    stream_kb: float  # memory that the streams took before any frame came


@dataclass(frozen=True)
class RelayCost:
    """Milliseconds of one frame at a time (image bytes to parsed result), and a flooded relay's rates, turn by turn."""

    image_bytes: int
    direct_ms: Sequence[float]  # of each frame
    relayed_ms: Sequence[float]
    cameras: int
    frames_per_s: Sequence[float]  # wall clock; cameras, relay and null server share the machine's cores
    frames_per_cpu_s: Sequence[float]  # of the relay's own CPU time

    def __str__(self) -> str:
        direct, relayed = (statistics.median(ms) for ms in (self.direct_ms, self.relayed_ms))
        return (
            f"one frame at a time, {self.image_bytes // 1000} KB, p50 (p99) ms: "
            f"direct {direct:.2f} ({_p99(self.direct_ms):.2f}), "
            f"through the relay {relayed:.2f} ({_p99(self.relayed_ms):.2f}), added {relayed - direct:.2f}\n"
            f"{self.cameras} cameras at full speed, median (least to most) of {len(self.frames_per_s)} turns: "
            f"{_spread(self.frames_per_s)} frames/s on this machine,\n"
            f"  {_spread(self.frames_per_cpu_s)} per second of the relay's CPU"
        )


def measure_relay(
    image_bytes: int = 50_000, frames: int = 200, cameras: int = 4, seconds: float = 3.0, turns: int = TURNS
) -> RelayCost:
    """Turns of `frames` frames one at a time, and of a flood for `seconds`. Takes some 35 s at the defaults."""
    direct_ms: list[float] = []
    relayed_ms: list[float] = []
    floods = []
    for _ in range(turns):
        with null_server() as server, relay_process(server) as (relay, _url):
            direct, relayed = _one_at_a_time(server, relay, os.urandom(image_bytes), frames)
        direct_ms += direct
        relayed_ms += relayed
        floods.append(measure(cameras, 0.0, image_bytes, seconds, AHEAD))
    per_s = [flood.outcome.delivered / seconds for flood in floods]
    return RelayCost(
        image_bytes, direct_ms, relayed_ms, cameras, per_s, [1e6 / flood.cpu_us for flood in floods]
    )


def _one_at_a_time(server: str, relay: str, image: bytes, frames: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each frame, straight to the server and through the relay in turn."""
    direct_ms, relayed_ms = [], []
    with Unary(server, PREDICT) as straight, Stream(relay, "bench", Security()) as relayed:
        for number in range(WARM_UP_FRAMES + frames):
            started_s = time.perf_counter()
            answer = straight.call(http2.message(request_bytes(MODEL_NAME, SIGNATURE, image)))
            parse_response(answer).detections()
            between_s = time.perf_counter()
            relayed.detect(image)
            if number >= WARM_UP_FRAMES:
                direct_ms.append((between_s - started_s) * 1e3)
                relayed_ms.append((time.perf_counter() - between_s) * 1e3)
    return direct_ms, relayed_ms


def measure(streams: int, fps: float, image_bytes: int, seconds: float, ahead: int = 0) -> Steady:
    """A fresh relay under so many cameras, which are in one process of their own (`client.bench_streams`).

    Raises RuntimeError where not so many streams can be open.
    """
    with null_server() as server, relay_process(server) as (relay, metrics_url):
        empty = metric(metrics_url, MEMORY_BYTES)
        options = {
            "streams": streams,
            "fps": fps,
            "ahead": ahead,
            "image-bytes": image_bytes,
            "seconds": seconds,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "client.bench_streams", relay, *arguments]
        with subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout is not None
            if load.stdout.readline().strip() != CONNECTED:
                raise RuntimeError(
                    f"{streams} streams could not be opened; see the limit of open files (ulimit -n)"
                )
            full = metric(metrics_url, MEMORY_BYTES)
            began_s, ended_s = (_cpu_s_at(load.stdout, metrics_url, word) for word in (WARM, OVER))
            outcome = Outcome(**json.loads(load.stdout.readline()))
    cpu_us = 1e6 * (ended_s - began_s) / outcome.sent if outcome.sent else math.nan
    return Steady(streams, fps, image_bytes, outcome, cpu_us, (full - empty) / streams / 1000)


def _cpu_s_at(lines: IO[str], metrics_url: str, word: str) -> float:
    """The relay's CPU time when the cameras say `word`."""
    if (line := lines.readline().strip()) != word:
        raise RuntimeError(f"the cameras broke off: expected {word!r}, got {line!r}")
    return metric(metrics_url, CPU_SECONDS)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-bytes", type=int, default=50_000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    print(measure_relay(given.image_bytes, given.frames, given.cameras, given.seconds, given.turns))
