"""A line that says how the load is getting on: rewritten in place on a terminal, now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent
from rich.console import Console
from rich.live import Live
from rich.text import Text

from loadtest.figures import tail, title
from loadtest.percentiles import percentile_s
from loadtest.profile import in_words
from loadtest.record import DELIVERED, DROPPED, ERRORED, LATENESS, Store

if TYPE_CHECKING:
    from loadtest.control import Control

RECENT_S = 5.0
LATE_S = 1.5  # the newest frames have no answer yet, and their report is on its way
LINE_EVERY = 10  # seconds, where the output is no terminal


def show_progress(control: Control) -> None:
    """For ever."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        second = 0
        while True:
            gevent.sleep(1.0)
            if not control.running_s or control.ended:
                continue
            second += 1
            line = progress_line(control)
            if console.is_terminal:
                live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            elif second % LINE_EVERY == 0:
                print(line, flush=True)


def progress_line(control: Control) -> str:
    """`12 s of 60 | 4 users | offered 60.0/s, delivered 60.0/s | age p50 42 ms p99 63 ms | sent 0.4 ms late at p99`"""
    of = "" if control.plan.search else f" of {control.plan.profile.duration_s:g}"
    users = control.clock.plateaus[-1].users if control.clock.plateaus else 0
    return f"{control.running_s:.0f} s{of} | {in_words(users)} | {recent(control.store)}"


def recent(store: Store) -> str:
    """The last seconds' figures."""
    now = time.time()
    window = store.window(now - LATE_S - max(RECENT_S, 2 * store.step_s), now - LATE_S)
    if not window.offered:
        return "nothing sent yet"
    ages, late = window.ages, store.values(LATENESS, now - LATE_S - RECENT_S)
    top, late_top = tail([ages]), tail([late])
    parts = [
        f"offered {window.offered / window.seconds:.1f}/s, delivered {window.count(DELIVERED) / window.seconds:.1f}/s",
        f"age p50 {percentile_s(ages, 50) * 1e3:.0f} ms {title(top)} {percentile_s(ages, top) * 1e3:.0f} ms"
        if ages.total_count
        else "no results",
        *(f"{window.count(status)} {status}" for status in (DROPPED, ERRORED) if window.count(status)),
    ]
    if late.total_count:
        at = "most" if late_top == 100 else title(late_top)
        parts.append(f"sent {percentile_s(late, late_top) * 1e3:.1f} ms late at {at}")
    return " | ".join(parts)
