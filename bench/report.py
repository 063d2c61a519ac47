"""The peers' figures as a table and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

OURS = "Sightline: server"  # what the others are compared with: one hop, as theirs


@dataclass(frozen=True)
class Row:
    """One server: milliseconds of one caller at p50, images per second of all callers together."""

    name: str
    one_ms: float
    many_per_s: float


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
    (ours,) = (row for row in rows if row.name == OURS)
    for row in rows:
        out.add_row(
            row.name, f"{row.one_ms:.1f}", f"{row.one_ms / ours.one_ms:.2f}",
            f"{row.many_per_s:.1f}", f"{row.many_per_s / ours.many_per_s:.2f}",
        )  # fmt: skip
    return out


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
    colours = ["#2563eb" if name.startswith("Sightline") else "#9ca3af" for name in names]
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
