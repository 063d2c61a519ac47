"""What the relay itself costs: a null model server behind it, many cameras before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from client.bench import Steady, measure, measure_relay
from sightline.bench.rows import met

FLOOD_BYTES = 50_000  # a JPEG of 1280x720
STREAMS_FPS, STREAMS_BYTES = 2.0, 10_000  # of the many streams; fewer have as many frames a second in all
LIGHT_FRAMES_S = 300  # in all, too: far from what the relay can do
GOAL_FRAMES_S, GOAL_P99_MS, GOAL_IDLE_KB = 2000, 100, 200


def run(seconds: float, streams: int, console: Console) -> None:
    """Measure and print (about 3 minutes at the defaults)."""

    def steady(count: int, rate: float, image_bytes: int) -> Steady:
        """So many streams that send `rate` frames a second in all."""
        return measure(count, rate / count, image_bytes, seconds)

    cost = measure_relay(FLOOD_BYTES, seconds=seconds)
    reached = [turn >= GOAL_FRAMES_S for turn in cost.frames_per_cpu_s]
    console.print(f"{cost}\ngoal {GOAL_FRAMES_S} a second of CPU: {_met_in(reached)}", highlight=False)
    counts = sorted({10, min(100, streams), streams})
    crowd_rate = streams * STREAMS_FPS
    # The largest load three times, at some distance: what others take of a shared machine comes and goes.
    crowds = [steady(streams, crowd_rate, STREAMS_BYTES)]
    light = [steady(count, LIGHT_FRAMES_S, FLOOD_BYTES) for count in counts]
    crowds.append(steady(streams, crowd_rate, STREAMS_BYTES))
    full = [steady(count, crowd_rate, STREAMS_BYTES) for count in counts[:-1]]
    added = [steady(count, count * STREAMS_FPS, STREAMS_BYTES) for count in counts[:-1]]
    crowds.append(steady(streams, crowd_rate, STREAMS_BYTES))
    crowds.sort(key=lambda crowd: crowd.outcome.age_p99_ms)
    full.append(crowds[1])
    idle = measure(streams, 0.0, FLOOD_BYTES, 1.0)
    console.print(_table([*light, *full, *added]))
    flat, flat_light = (rows[-1].cpu_us / rows[0].cpu_us for rows in (full, light))
    more = full[-1].cpu_us / (added or full)[0].cpu_us
    turns = ", ".join(f"{_ms(c.outcome.age_p99_ms)} ({_share(c)})" for c in crowds)
    for line in (
        f"{streams} streams at {STREAMS_FPS:g} fps, p99 (delivered) of three turns: {turns} ms",
        f"  goal p99 below {GOAL_P99_MS} ms and none dropped: {_met_in([_held(crowd) for crowd in crowds])}",
        f"cost of a frame, {streams} streams against 10, goal the same: {more:.2f} times at {STREAMS_FPS:g} fps each,",
        f"  {flat:.2f} times where 10 send as much in all, {crowd_rate:.0f} frames/s, "
        f"and {flat_light:.2f} at {LIGHT_FRAMES_S}",
        f"an idle stream takes {idle.stream_kb:.0f} KB, goal {GOAL_IDLE_KB}: {met(idle.stream_kb <= GOAL_IDLE_KB)}",
    ):
        console.print(line, highlight=False)


def _table(rows: Sequence[Steady]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("streams", "fps each", "KB", "delivered", "p50 ms", "p99 ms", "relay CPU us/frame"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.streams), f"{row.fps:g}", str(row.image_bytes // 1000), _share(row),
            _ms(row.outcome.age_p50_ms), _ms(row.outcome.age_p99_ms), f"{row.cpu_us:.0f}",
        )  # fmt: skip
    return table


def _held(crowd: Steady) -> bool:
    outcome = crowd.outcome
    return outcome.delivered >= 0.99 * outcome.sent and outcome.age_p99_ms < GOAL_P99_MS


def _met_in(turns: Sequence[bool]) -> str:
    """Whether turns reached the goal. What others take of a shared machine makes a turn worse, never better."""
    if any(turns) and not all(turns):
        return f"met in {sum(turns)} of {len(turns)} turns"
    return met(all(turns))


def _share(row: Steady) -> str:
    return f"{100 * row.outcome.delivered / max(1, row.outcome.sent):.1f} %"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
