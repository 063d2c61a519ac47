"""A run's figures by name, as the terminal, the page and the files all give them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hdrh.histogram import HdrHistogram

from loadtest.percentiles import known, mean_s, percentile_s
from loadtest.profile import CallLoad
from loadtest.record import DELIVERED, Window
from loadtest.results import Point, Run

if TYPE_CHECKING:
    from loadtest.queueing import Model  # imports scipy

PERCENTS = (50.0, 90.0, 99.0, 99.9)
CLOSED = " (closed)"


def title(percent: float) -> str:
    """What a percentile is called: p50, p99.9, and max for 100."""
    return "max" if percent == 100 else f"p{percent:g}"


COLUMNS = ("mean", *map(title, PERCENTS), "max")  # of `milliseconds`
HELD = {True: "yes", False: "no", None: ""}


def curves(run: Run) -> dict[str, HdrHistogram]:
    """Ages by kind of user ("camera"), and by version where there are several ("camera v2").

    Callers that wait for each answer are "predict (closed)": of a stall they tell once, however long it was.
    """
    found = {}
    for user, load in run.profile.users.items():
        window = run.window(user)
        name = f"{user}{CLOSED}" if isinstance(load, CallLoad) and not load.rate else user
        if window.delivered:
            found[name] = window.ages
        if len(window.delivered) > 1:
            found |= {f"{name} {version}": values for version, values in sorted(window.delivered.items())}
    return found


def milliseconds(values: HdrHistogram) -> dict[str, float]:
    """Mean, percentiles and maximum; without those for which there are too few values, and {} of none."""
    at = {title(p): percentile_s(values, p) * 1e3 for p in (*PERCENTS, 100) if known(values, p)}
    return {"mean": mean_s(values) * 1e3, **at} if at else {}


def tail(of: Iterable[HdrHistogram]) -> float:
    """99 if each that has values has enough of them for it; else 100: the maximum, which would pass for p99."""
    return 99.0 if all(known(values, 99) for values in of if values.total_count) else 100.0


def fates(window: Window) -> dict[str, int]:
    """How many frames were due, how many of them were delivered, and what became of the others."""
    return {"offered": window.offered, DELIVERED: window.count(DELIVERED), **window.others}


def point_table(points: Sequence[Point], model: Model | None) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a curve, by load; whether a search's goals held, and what the queueing model makes of it."""
    header = ["users", "offered/s", "delivered/s", "delivered %", " mean ms", "  p50 ms", "  p99 ms"]
    searched = any(p.held is not None for p in points)
    rows = []
    for p in sorted(points, key=lambda p: p.offered_per_s):
        values = (p.offered_per_s, p.delivered_per_s, p.delivered_percent, p.mean_ms, p.p50_ms, p.p99_ms)
        row = [str(p.users), *("" if math.isnan(value) else f"{value:.1f}" for value in values)]
        row += [HELD[p.held]] if searched else []
        rows.append([*row, f"{model.mean_ms(p.offered_per_s):.1f}"] if model else row)
    header += ["held"] if searched else []
    return [*header, f"M/D/{model.servers} mean ms"] if model else header, rows
