"""What the relay itself costs: a null model server behind it, many cameras before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from client.bench import measure, measure_relay
from sightline.bench.rows import met

FLOOD_BYTES = 50_000  # a JPEG of 1280x720
STREAMS_FPS, STREAMS_BYTES = 2.0, 10_000  # of the many streams; fewer have as many frames a second in all
LIGHT_FRAMES_S = 300  # in all, too: far from what the relay can do
GOAL_FRAMES_S, GOAL_P99_MS, GOAL_IDLE_KB = 2000, 100, 200


def run(seconds: float, streams: int, console: Console) -> None:
    """Measure and print (about 3 minutes at the defaults)."""
    cost = measure_relay(FLOOD_BYTES, seconds=seconds)
    console.print(str(cost), highlight=False)
    console.print(f"goal {GOAL_FRAMES_S} a second of CPU: {_met_in(cost.frames_per_cpu_s)}", highlight=False)
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


def _met_in(turns: Sequence[float]) -> str:
    """Whether turns reach the goal. What others take of a shared machine's cores makes a turn slower, never faster."""
    reached = sum(turn >= GOAL_FRAMES_S for turn in turns)
    if reached in (0, len(turns)):
        return met(reached > 0)
    return f"met in {reached} of {len(turns)} turns"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
