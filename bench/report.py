"""The peers' figures as a table, goals and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from sightline.bench.stack import GOAL_SHARE, SIDECARS
from sightline.bench.worker import Turn

SIGHTLINE = "Sightline: "  # what our ways begin with
OURS = f"{SIGHTLINE}server"  # what the others are compared with: one hop, as theirs
IN_PROCESS = f"{SIGHTLINE}in process"
PYTORCH = "FastAPI + Ultralytics (PyTorch)"
GOAL_PYTORCH, GOAL_BEST = 2.0, 1.0  # times their images per second


@dataclass(frozen=True)
class Row:
    """One server: milliseconds of one caller at p50, images per second of all callers together, and how many times
    ours each is: medians over the rounds, of two turns of one round each."""

    name: str
    one_ms: float
    many_per_s: float
    times_ms: float
    times_per_s: float


def rows_of(one: Mapping[str, list[Turn]], many: Mapping[str, list[Turn]]) -> list[Row]:
    """Of the turns with one caller and with many, by name, OURS among them."""
    return [
        Row(
            name,
            1e3 * statistics.median(s for turn in one[name] for s in turn.latencies_s),
            statistics.median(turn.frames_per_s for turn in many[name]),
            statistics.median(
                statistics.median(theirs.latencies_s) / statistics.median(ours.latencies_s)
                for theirs, ours in zip(one[name], one[OURS], strict=True)
            ),
            ratio(many[name], many[OURS]),
        )
        for name in one
    ]


def ratio(turns: list[Turn], others: list[Turn]) -> float:
    """Of the rates, round by round."""
    return statistics.median(
        turn.frames_per_s / other.frames_per_s for turn, other in zip(turns, others, strict=True)
    )


def table(rows: list[Row], callers: int) -> Table:
    """Figures, and how many times ours each is: above 1, ours is better, for time; below 1, for the rate."""
    out = Table(box=None, pad_edge=False, header_style="dim")
    titles = (
        "JPEG 1280x720 over the wire to boxes",
        "1 caller, p50 ms",
        "× ours",
        f"{callers} callers, images/s",
        "× ours",
    )
    for title in titles:
        out.add_column(title, justify="left" if title is titles[0] else "right", no_wrap=True)
    for row in rows:
        out.add_row(
            row.name, f"{row.one_ms:.1f}", f"{row.times_ms:.2f}", f"{row.many_per_s:.1f}", f"{row.times_per_s:.2f}"
        )  # fmt: skip
    return out


def goals(many: Mapping[str, list[Turn]], callers: int) -> list[str]:
    """A line for each goal, and whether it is met."""
    others = {
        name: ratio(many[OURS], turns) for name, turns in many.items() if not name.startswith(SIGHTLINE)
    }
    best = min(others, key=others.__getitem__)
    share = ratio(many[SIGHTLINE + SIDECARS], many[IN_PROCESS])
    return [
        f"{callers} callers, images/s, round by round: ours",
        _goal(f"times those of {PYTORCH}", others[PYTORCH], GOAL_PYTORCH),
        _goal(f"times those of the best peer, {best}", others[best], GOAL_BEST),
        _goal("of our engine's in process, through relay, sidecars and server", share, GOAL_SHARE),
    ]


def _goal(what: str, value: float, least: float) -> str:
    return f"  {value:.2f} {what}: goal {least:g}, {'met' if value >= least else 'missed'}"


def plot(rows: list[Row], callers: int, file: Path) -> None:
    """Two bar charts side by side, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "sightline"  # the same figures give the same file
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(11, 0.42 * len(rows) + 1.2), sharey=True, layout="constrained"
    )
    names = [row.name for row in rows]
    colours = ["#2563eb" if name.startswith(SIGHTLINE) else "#9ca3af" for name in names]
    for axes, values, title in (
        (left, [row.one_ms for row in rows], "one caller: ms at p50, less is better"),
        (right, [row.many_per_s for row in rows], f"{callers} callers: images/s, more is better"),
    ):
        axes.bar_label(axes.barh(names, values, color=colours), fmt="%.1f", padding=3)
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
    left.invert_yaxis()
    figure.savefig(file, metadata={"Date": None})
