"""A run's figures by name, as the terminal, the page and the files all give them."""

from __future__ import annotations

from hdrh.histogram import HdrHistogram

from loadtest.record import DELIVERED, Window, percentile_s
from loadtest.results import Run

PERCENTS = (50.0, 90.0, 99.0, 99.9)


def curves(run: Run) -> dict[str, HdrHistogram]:
    """Ages by kind of user ("camera"), and by version where there are several ("camera v2")."""
    found = {}
    for user in run.profile.users:
        window = run.window(user)
        if window.delivered:
            found[user] = window.ages
        if len(window.delivered) > 1:
            found |= {f"{user} {version}": values for version, values in sorted(window.delivered.items())}
    return found


def milliseconds(values: HdrHistogram) -> dict[str, float]:
    """Mean, percentiles and maximum."""
    at = {f"p{percent:g}": percentile_s(values, percent) * 1e3 for percent in PERCENTS}
    return {"mean": float(values.get_mean_value()) / 1e3, **at, "max": percentile_s(values, 100) * 1e3}


def fates(window: Window) -> dict[str, int]:
    """How many frames were due, how many of them were delivered, and what became of the others."""
    return {"offered": window.offered, DELIVERED: window.count(DELIVERED), **window.others}
