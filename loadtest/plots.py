"""A run's figures as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hdrh.histogram import HdrHistogram
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from loadtest.figures import tail, title
from loadtest.knee import Knee
from loadtest.page import Drawing
from loadtest.percentiles import percentile_s
from loadtest.picture import BLUE, COLOURS, DARK, GREEN, GREY, ORANGE, RED, SKY, WIDE, picture
from loadtest.record import DELIVERED, LAG, LATENESS, STAGE, split
from loadtest.results import Point, Run
from loadtest.timeline import Column, Timeline

STRIP = 0.1  # of the axes' height, for an event's name
STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1,))  # of an axis of ages: the finest that it has room for
MOST_MARKS = 8
NINES = (0.0, 90.0, 99.0, 99.9, 99.99)


def mark(axes: Axes, run: Run) -> None:
    """Shade the warm-up behind all else; events are a strip above: over an area they would change its colour."""
    if run.profile.warmup_s:
        axes.axvspan(0, run.profile.warmup_s, color=GREY, alpha=0.2, lw=0, zorder=0, label="warm-up")
    for index, event in enumerate(run.events):
        begin, end = event.begin_s - run.began_s, event.end_s - run.began_s
        row = sum(other.end_s > event.begin_s for other in run.events[:index])
        low, high = 1.02 + STRIP * row, 1 + STRIP * (row + 1)
        strip = axes.get_xaxis_transform()
        axes.fill_between(
            [begin, end], low, high, transform=strip, color=GREY, alpha=0.3, lw=0, clip_on=False
        )
        axes.text(begin, (low + high) / 2, f" {event.name}", transform=strip, va="center", fontsize=8)
        for edge in (begin, end):
            axes.axvline(edge, color=DARK, lw=0.8, ls=":")
    axes.set_xlim(0, max(1.0, run.load_end_s - run.began_s))


def ages_axis(axes: Axes, ages_ms: Column) -> None:
    """A logarithmic axis with a few round numbers, the first and the last of them at its ends."""
    low, high = float(np.nanmin(ages_ms)), float(np.nanmax(ages_ms))
    choices = (marks for steps in STEPS if len(marks := around(low, high, steps)) <= MOST_MARKS)
    marks = next(choices, around(low, high, STEPS[-1]))
    axes.set_yscale("log")
    axes.set_ylim(marks[0], marks[-1])
    axes.set_yticks(marks, [f"{at:g}" for at in marks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("age, ms (log)")


def around(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """`steps` of each decade from the last that is below `low` to the first that is above `high`; both more than 0."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    first, last = max(at for at in marks if at < low), min(at for at in marks if at > high)
    return [at for at in marks if first <= at <= last]


def latency(line: Timeline) -> Drawing:
    """Age over time. Something has to be delivered."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        for percent, colour in ((50, BLUE), (90, GREEN), (99, ORANGE), (100, RED)):
            ages = line.ages_ms(percent)
            if not np.isnan(ages).all():
                # A dot for each slot: one between two in which nothing was delivered has no line.
                axes.plot(line.seconds, ages, ".-", color=colour, label=title(percent), lw=1.4, ms=3)
        ages_axis(axes, np.concatenate([line.ages_ms(percent) for percent in (50, 100)]))
        axes.set_xlabel("seconds")
        mark(axes, line.run)
    return made.drawing


def percentiles(curves: dict[str, HdrHistogram]) -> Drawing:
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
    return made.drawing


def throughput(line: Timeline) -> Drawing:
    """Offered and delivered over time, and the users."""
    with picture((9.6, 4.0), rows=2) as made:
        axes, users = made.axes
        axes.plot(line.seconds, line.rate(DELIVERED), color=BLUE, label="delivered", lw=3)
        # On top, and dashed: the two are often equal.
        axes.plot(line.seconds, line.rate(""), color=ORANGE, label="offered", lw=1.4, ls="--")
        axes.set_ylabel("frames/s")
        axes.set_ylim(0, 1.05 * max(1.0, *line.rate("")))
        mark(axes, line.run)
        steps = [(p.begin_s - line.run.began_s, p.users) for p in line.run.plateaus]
        if steps:
            ends = [*(begin for begin, _ in steps), line.run.load_end_s - line.run.began_s]
            users.stairs([count for _, count in steps], ends, color=GREEN, fill=True, alpha=0.4)
        users.set_ylabel("users")
        users.set_ylim(bottom=0)
        users.yaxis.set_major_locator(MaxNLocator(integer=True))
        users.set_xlabel("seconds")
    return made.drawing


def stacked(line: Timeline, series: dict[str, Column], unit: str) -> Drawing:
    """Series over time, on top of each other: drops by reason, versions served."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        seconds = np.append(line.seconds, line.seconds[-1] + line.step_s)
        heights = [np.append(values, values[-1]) for values in series.values()]
        axes.stackplot(seconds, *heights, labels=list(series), colors=COLOURS, step="post")
        axes.set_ylabel(unit)
        axes.set_xlabel("seconds")
        mark(axes, line.run)
    return made.drawing


def curve(points: Sequence[Point], knee: Knee | None, limit_ms: float | None) -> Drawing:
    """What comes out for what is offered, and at what age if anything does."""
    ordered = sorted(points, key=lambda p: p.offered_per_s)
    offered = [p.offered_per_s for p in ordered]
    aged = any(p.delivered_per_s for p in points)
    with picture((9.6, 4.6 if aged else 2.6), rows=1 + aged) as made:
        rates, *ages = made.axes
        rates.plot(offered, [p.delivered_per_s for p in ordered], "o-", color=BLUE, label="delivered", lw=3)
        rates.plot([0, max(offered)], [0, max(offered)], color=ORANGE, lw=1.4, ls="--", label="as offered")
        rates.set_ylabel("frames/s")
        for axes in ages:
            for name, colour in (("p50", BLUE), ("p99", ORANGE)):
                values = [getattr(p, f"{name}_ms") for p in ordered]
                if not np.isnan(values).all():
                    axes.plot(offered, values, "o-", color=colour, label=name, lw=1.4)
            if limit_ms is not None:
                axes.axhline(limit_ms, color=RED, ls=":", lw=1, label=f"goal: {limit_ms:g} ms")
            axes.set_ylabel("age, ms")
        for axes in made.axes:
            if knee is not None:
                axes.axvline(knee.per_s, color=RED, ls="--", lw=1, label=f"knee: {knee.per_s:.0f} frames/s")
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
        made.axes[-1].set_xlabel("offered frames/s")
    return made.drawing


def stages(run: Run) -> Drawing:
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
    return made.drawing


def generator(line: Timeline) -> Drawing:
    """How late the generator itself was."""
    store, step_s = line.run.store, line.step_s
    series = {"frames sent late": LATENESS, "event loop late": LAG}
    late = {
        name: [store.values(of, slot, slot + step_s) for slot in line.slots] for name, of in series.items()
    }
    percent = tail(values for slots in late.values() for values in slots)
    with picture(WIDE) as made:
        (axes,) = made.axes
        for (name, slots), colour in zip(late.items(), COLOURS, strict=False):
            at = [percentile_s(values, percent) * 1e3 for values in slots]
            if not np.isnan(at).all():
                axes.plot(line.seconds, at, color=colour, label=name, lw=1.4)
        axes.set_ylabel(f"{title(percent)}, ms")
        axes.set_xlabel("seconds")
        axes.set_ylim(bottom=0)
        mark(axes, line.run)
    return made.drawing
