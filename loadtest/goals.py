"""Whether a run met its profile's goals (SLO)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.percentiles import percentile_s
from loadtest.profile import Goal
from loadtest.record import DELIVERED, LOST, Window, split
from loadtest.results import Run

QUARTER = 0.25


@dataclass(frozen=True)
class Check:
    """A goal, the value that was measured (NaN: nothing to measure it on), and whether it holds."""

    goal: str
    value: float
    ok: bool

    def __str__(self) -> str:
        return f"{self.goal}: {'no value' if math.isnan(self.value) else f'{self.value:.4g}'}"


def check(run: Run) -> list[Check]:
    """Every goal of the run's profile."""
    found = []
    for goal in run.profile.slo:
        if goal.metric in OF_RUN:
            value = OF_RUN[goal.metric](run, goal)
        else:
            value = window_value(run.window(goal.user, goal.during), goal)
        found.append(Check(str(goal), value, goal.allows(value)))
    return found


def nothing_delivered(run: Run) -> str:
    """What is to be said where nothing was delivered, with the most frequent reason; "" where something was."""
    window = run.window()
    if window.count(DELIVERED):
        return ""
    reasons = run.store.problems.most_common(1) or Counter(window.others).most_common(1)
    text, count = reasons[0] if reasons else ("nothing was due after the warm-up", 0)
    return f"Nothing was delivered: {text}" + (f" ({count} times)" if count else "")


def window_value(window: Window, goal: Goal) -> float:
    """What a goal bounds, of a span of time; NaN where there is nothing to measure it on."""
    if goal.metric == "age_ms":
        ages = window.delivered.get(goal.version) if goal.version else window.ages
        return percentile_s(ages, goal.at) * 1e3 if ages is not None else math.nan
    if goal.metric == "lost":
        # What has no answer yet when a search judges is lost to it: a camera tells of lost frames when it ends.
        return float(window.count(LOST) + window.unsettled) if window.offered else math.nan
    if goal.metric == "version_percent":
        served = window.delivered.get(goal.version)
        total = window.count(DELIVERED)
        return 100 * (int(served.total_count) if served is not None else 0) / total if total else math.nan
    return 100 * window.share(goal.metric.removesuffix("_percent"))


def _lost(run: Run, goal: Goal) -> float:
    """Of all frames of the run, of the warm-up and the end too: none may be forgotten."""
    span_s = (run.span(goal.during).begin_s, run.span(goal.during).end_s) if goal.during else (0.0, math.inf)
    return window_value(run.store.window(*span_s, goal.user), goal)


def _recovery_s(run: Run, goal: Goal) -> float:
    """Slots are counted in full, that of the event's end too: what was lost before it and after can't be told apart."""
    event = run.span(goal.during)
    if not event.end_s:
        return math.nan
    later = [other.begin_s for other in run.events if other.begin_s >= event.end_s]
    until_s = min(later, default=math.inf)
    bad = [
        slot
        for series, slots in run.store.series.items()
        if split(series)[0] in run.store.offered and split(series)[1] != DELIVERED
        for slot in slots
        if event.end_s < slot + run.store.step_s <= until_s
    ]
    return max((slot + run.store.step_s - event.end_s for slot in bad), default=0.0)


def _drift_percent(run: Run, goal: Goal) -> float:
    begin_s, end_s = run.began_s + run.profile.warmup_s, run.ended_s
    quarter_s = QUARTER * (end_s - begin_s)
    first = run.store.window(begin_s, begin_s + quarter_s, goal.user).ages
    last = run.store.window(end_s - quarter_s, end_s, goal.user).ages
    return 100 * (percentile_s(last, 50) / percentile_s(first, 50) - 1)


OF_RUN: dict[str, Callable[[Run, Goal], float]] = {
    "lost": _lost,
    "recovery_s": _recovery_s,
    "drift_percent": _drift_percent,
}
