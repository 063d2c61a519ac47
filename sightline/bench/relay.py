"""What the relay itself costs: a null model server behind it, many cameras before it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.table import Table

from client.bench import CPU_SECONDS, MEMORY_BYTES, measure_relay, metric, null_server, relay_process
from client.bench_streams import CONNECTED, OVER, WARM, Outcome
from model.child import bound
from sightline.bench.rows import met

FLOOD_BYTES = 50_000  # a JPEG of 1280x720
FLOOD_FRAMES, FLOOD_CAMERAS = 2000, 4
STREAMS_FPS, STREAMS_BYTES = 2.0, 10_000  # of the many streams; fewer have as many frames a second in all
LIGHT_FRAMES_S = 300  # in all, too: far from what the relay can do
GOAL_FRAMES_S, GOAL_P99_MS, GOAL_IDLE_KB = 2000, 100, 200


@dataclass(frozen=True)
class Steady:
    """One steady load: what its cameras saw, and CPU time of the relay per frame, of the same seconds."""

    streams: int
    fps: float
    image_bytes: int
    outcome: Outcome
    cpu_us: float
    stream_kb: float  # memory that the streams took before any frame came


def run(seconds: float, streams: int, console: Console) -> None:
    """Measure and print (about 2 minutes at the defaults)."""
    cost = measure_relay(FLOOD_BYTES, FLOOD_FRAMES, FLOOD_CAMERAS)
    console.print(str(cost), highlight=False)
    console.print(
        f"goal {GOAL_FRAMES_S} a second of CPU: {met(cost.frames_per_cpu_s >= GOAL_FRAMES_S)}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("streams", "fps each", "KB", "delivered", "p50 ms", "p99 ms", "relay CPU us/frame"):
        table.add_column(title, justify="right", no_wrap=True)
    counts = sorted({10, 100, streams})
    rates = ((LIGHT_FRAMES_S, FLOOD_BYTES), (streams * STREAMS_FPS, STREAMS_BYTES))
    added = [measure(count, STREAMS_FPS, STREAMS_BYTES, seconds) for count in counts[:-1]]
    light, full = (
        [measure(count, rate / count, image_bytes, seconds) for count in counts]
        for rate, image_bytes in rates
    )
    for one in [*light, *full, *added]:
        share = one.outcome.delivered / max(1, one.outcome.sent)
        table.add_row(
            str(one.streams), f"{one.fps:g}", str(one.image_bytes // 1000), f"{100 * share:.1f} %",
            _ms(one.outcome.age_p50_ms), _ms(one.outcome.age_p99_ms), f"{one.cpu_us:.0f}",
        )  # fmt: skip
    console.print(table)
    largest, idle = full[-1].outcome, measure(streams, 0.0, FLOOD_BYTES, 1.0)
    held = largest.delivered >= 0.99 * largest.sent and largest.age_p99_ms < GOAL_P99_MS
    flat, flat_light = (steady[-1].cpu_us / steady[0].cpu_us for steady in (full, light))
    more = full[-1].cpu_us / added[0].cpu_us
    for line in (
        f"{streams} streams at {STREAMS_FPS:g} fps, goal p99 below {GOAL_P99_MS} ms and none dropped: {met(held)}",
        f"cost of a frame, {streams} streams against 10, goal the same: {more:.2f} times at {STREAMS_FPS:g} fps each,",
        f"  {flat:.2f} times where 10 send as much in all, {rates[1][0]:.0f} frames/s, "
        f"and {flat_light:.2f} at {LIGHT_FRAMES_S}",
        f"an idle stream takes {idle.stream_kb:.0f} KB, goal {GOAL_IDLE_KB}: {met(idle.stream_kb <= GOAL_IDLE_KB)}",
    ):
        console.print(line, highlight=False)


def measure(streams: int, fps: float, image_bytes: int, seconds: float) -> Steady:
    """A fresh relay under so many cameras, which are in one process of their own."""
    with null_server() as server, relay_process(server) as (relay, metrics_url):
        empty = metric(metrics_url, MEMORY_BYTES)
        options = {"streams": streams, "fps": fps, "image-bytes": image_bytes, "seconds": seconds}
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
    frames = streams * fps * seconds
    cpu_us = 1e6 * (ended_s - began_s) / frames if frames else math.nan
    return Steady(streams, fps, image_bytes, outcome, cpu_us, (full - empty) / streams / 1000)


def _cpu_s_at(lines: IO[str], metrics_url: str, word: str) -> float:
    """The relay's CPU time when the cameras say `word`."""
    if (line := lines.readline().strip()) != word:
        raise RuntimeError(f"the cameras broke off: expected {word!r}, got {line!r}")
    return metric(metrics_url, CPU_SECONDS)


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
