"""A run's figures as pictures: SVG, drawn by matplotlib, to be put into a page as they are."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from loadtest.knee import Knee
from loadtest.record import DELIVERED, LAG, LATENESS, STAGE, histogram, percentile_s, split
from loadtest.results import Point, Run

# Okabe and Ito's colours, which colour-blind people tell apart too.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#999999",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, GREY)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "sightline", "font.family": "sans-serif", "font.size": 10,
    "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
WIDE = (9.6, 3.0)
NINES = (0.0, 90.0, 99.0, 99.9, 99.99)


Column = NDArray[np.float64]


class Picture:
    """An SVG that is being drawn; `uri` once the `with` block has ended."""

    def __init__(self, size: tuple[float, float], rows: int = 1) -> None:
        self.figure = Figure(figsize=size, layout="constrained")
        self.axes: list[Axes] = list(np.atleast_1d(self.figure.subplots(rows, 1, sharex=True)))
        self.uri = ""

    def finish(self) -> None:
        """Draw it."""
        for axes in self.axes:
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=1.2)
        FigureCanvasSVG(self.figure)
        file = io.BytesIO()
        self.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
        self.uri = "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


@contextmanager
def picture(size: tuple[float, float], rows: int = 1) -> Iterator[Picture]:
    """Axes to draw on."""
    with rc_context(STYLE):
        made = Picture(size, rows)
        yield made
        made.finish()


class Timeline:
    """A run's slots as columns, seconds since it began."""

    def __init__(self, run: Run) -> None:
        self.run, self.slots, self.step_s = run, run.slots(), run.store.step_s
        self.seconds = np.array([slot - run.began_s for slot in self.slots])
        self.windows = [run.store.window(slot, slot + self.step_s) for slot in self.slots]

    def ages_ms(self, percent: float) -> Column:
        """A percentile of each slot's ages; NaN where nothing was delivered."""
        return np.array([percentile_s(window.ages, percent) * 1e3 for window in self.windows])

    def rate(self, status: str) -> Column:
        """Frames a second with a status; "" for what was offered."""
        counts = [window.count(status) if status else window.offered for window in self.windows]
        return np.array(counts, float) / self.step_s

    def kinds(self) -> dict[str, Column]:
        """Frames a second of each way not to be delivered."""
        names = sorted({name for window in self.windows for name in window.others})
        return {
            name: np.array([w.others.get(name, 0) for w in self.windows], float) / self.step_s
            for name in names
        }

    def versions(self) -> dict[str, Column]:
        """Delivered frames a second of each served version."""
        names = sorted({name for window in self.windows for name in window.delivered})
        empty = histogram()
        return {
            name: np.array([w.delivered.get(name, empty).total_count for w in self.windows], float)
            / self.step_s
            for name in names
        }

    def mark(self, axes: Axes) -> None:
        """Shade the events and the warm-up, and name the seconds."""
        if self.run.profile.warmup_s:
            axes.axvspan(0, self.run.profile.warmup_s, color=GREY, alpha=0.15, lw=0)
        for index, event in enumerate(self.run.events):
            begin, end = event.begin_s - self.run.began_s, event.end_s - self.run.began_s
            axes.axvspan(begin, end, color=COLOURS[index % len(COLOURS)], alpha=0.12, lw=0)
            axes.text(
                begin, 1.0, f" {event.name}", transform=axes.get_xaxis_transform(), va="bottom", fontsize=8
            )
        axes.set_xlim(0, max(1.0, self.run.load_end_s - self.run.began_s))


def latency(line: Timeline) -> str:
    """Age over time."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        for percent, colour in ((50, BLUE), (90, GREEN), (99, ORANGE), (100, RED)):
            label = "max" if percent == 100 else f"p{percent}"
            # A dot for each slot: one between two in which nothing was delivered has no line.
            axes.plot(line.seconds, line.ages_ms(percent), ".-", color=colour, label=label, lw=1.4, ms=3)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if str(value)[0] in "25" else "")
        )
        axes.set_ylabel("age, ms")
        axes.set_xlabel("seconds")
        line.mark(axes)
    return made.uri


def percentiles(curves: dict[str, HdrHistogram]) -> str:
    """What share of the frames was delivered within what time, to p99.9 and beyond."""
    with picture((9.6, 3.4)) as made:
        (axes,) = made.axes
        share = np.concatenate([np.linspace(0, 90, 46), 100 - np.logspace(1, -3, 60)])
        for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
            known = share[
                share <= 100 * (1 - 1 / max(2, values.total_count))
            ]  # beyond, there is one frame only
            at = values.get_percentile_to_value_dict(known.tolist())
            axes.plot(1 / (1 - known / 100), [at[p] / 1e3 for p in known], color=colour, label=name, lw=1.6)
        axes.set_xscale("log")
        axes.set_xticks([1 / (1 - nine / 100) for nine in NINES], [f"p{nine:g}" for nine in NINES])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("age, ms")
        axes.set_ylim(bottom=0)
    return made.uri


def throughput(line: Timeline) -> str:
    """Offered and delivered over time, and the users."""
    with picture((9.6, 4.0), rows=2) as made:
        axes, users = made.axes
        axes.plot(line.seconds, line.rate(""), color=GREY, label="offered", lw=2.4)
        axes.plot(line.seconds, line.rate(DELIVERED), color=BLUE, label="delivered", lw=1.4)
        axes.set_ylabel("frames/s")
        axes.set_ylim(0, 1.05 * max(1.0, *line.rate("")))
        line.mark(axes)
        steps = [(p.begin_s - line.run.began_s, p.users) for p in line.run.plateaus]
        if steps:
            ends = [*(begin for begin, _ in steps), line.run.load_end_s - line.run.began_s]
            users.stairs([count for _, count in steps], ends, color=GREEN, fill=True, alpha=0.4)
        users.set_ylabel("users")
        users.set_ylim(bottom=0)
        users.yaxis.set_major_locator(MaxNLocator(integer=True))
        users.set_xlabel("seconds")
    return made.uri


def stacked(line: Timeline, series: dict[str, Column], unit: str) -> str:
    """Series over time, on top of each other: drops by reason, versions served."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        axes.stackplot(
            line.seconds, *series.values(), labels=list(series), colors=COLOURS, step="post", alpha=0.8
        )
        axes.set_ylabel(unit)
        axes.set_xlabel("seconds")
        line.mark(axes)
    return made.uri


def curve(points: Sequence[Point], knee: Knee | None, limit_ms: float | None) -> str:
    """What comes out for what is offered, and at what age."""
    with picture((9.6, 4.6), rows=2) as made:
        rates, ages = made.axes
        ordered = sorted(points, key=lambda p: p.offered_per_s)
        offered = [p.offered_per_s for p in ordered]
        rates.plot([0, max(offered)], [0, max(offered)], color=GREY, lw=1, label="as offered")
        rates.plot(offered, [p.delivered_per_s for p in ordered], "o-", color=BLUE, label="delivered", lw=1.4)
        if knee is not None:
            for axes in made.axes:
                axes.axvline(knee.per_s, color=RED, ls="--", lw=1, label=f"knee: {knee.per_s:.0f} frames/s")
        rates.set_ylabel("frames/s")
        for percent, colour in (("p50_ms", BLUE), ("p99_ms", ORANGE)):
            ages.plot(
                offered,
                [getattr(p, percent) for p in ordered],
                "o-",
                color=colour,
                label=percent[:-3],
                lw=1.4,
            )
        if limit_ms is not None:
            ages.axhline(limit_ms, color=RED, ls=":", lw=1, label=f"goal: {limit_ms:g} ms")
        ages.set_ylabel("age, ms")
        ages.set_xlabel("offered frames/s")
        for axes in made.axes:
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
    return made.uri


def stages(run: Run) -> str:
    """Where the time of delivered frames goes: the median of each part."""
    names = [name for name in run.store.totals if split(name)[0] == STAGE]
    medians = {split(name)[1]: percentile_s(run.store.totals[name], 50) * 1e3 for name in names}
    with picture((9.6, 0.5 + 0.36 * max(1, len(medians)))) as made:
        (axes,) = made.axes
        order = sorted(medians, key=lambda name: medians[name])
        axes.barh(order, [medians[name] for name in order], color=SKY)
        for row, name in enumerate(order):
            axes.text(medians[name], row, f" {medians[name]:.2f}", va="center", fontsize=9)
        axes.set_xlabel("median, ms")
    return made.uri


def generator(line: Timeline) -> str:
    """How late the generator itself was."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        for series, name, colour in ((LATENESS, "frames sent late", BLUE), (LAG, "event loop late", ORANGE)):
            late = [line.run.store.values(series, slot, slot + line.step_s) for slot in line.slots]
            axes.plot(
                line.seconds,
                [percentile_s(values, 99) * 1e3 for values in late],
                color=colour,
                label=name,
                lw=1.4,
            )
        axes.set_ylabel("p99, ms")
        axes.set_xlabel("seconds")
        axes.set_ylim(bottom=0)
        line.mark(axes)
    return made.uri
