"""The page of a comparison: the verdicts, and both runs in each picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadtest import plots
from loadtest.compare import BETTER, SAME, TITLES, WORSE, Comparison
from loadtest.figures import curves
from loadtest.page import Section, Verdict, render
from loadtest.record import DELIVERED
from loadtest.results import Run

KINDS = {WORSE: "bad", BETTER: "good", SAME: "good"}


def comparison_page(
    runs: dict[str, Run], where: str, found: Sequence[Comparison], doubts: Sequence[str], notes: Sequence[str]
) -> str:
    """The HTML. `runs`: the two by what they are called. `where`: what they are."""
    verdicts = [Verdict("doubt", f"Not to be trusted: {doubt}") for doubt in doubts]
    for verdict in dict.fromkeys(item.verdict for item in found):
        metrics = ", ".join(item.metric for item in found if item.verdict == verdict)
        verdicts.append(Verdict(KINDS.get(verdict, "doubt"), f"{verdict}: {metrics}"))
    ages, rates = _over_time(runs)
    shares = {f"{name}: {user}": values for name, run in runs.items() for user, values in curves(run).items()}
    note = "Of blocks of some seconds: medians of times in ms, means of shares in percent; more is worse."
    sections = [
        Section("Figures", note=note, header=TITLES, rows=[item.cells for item in found]),
        Section("Age over time", ages, "p50 drawn through, p99 dotted, ms."),
        Section("Percentiles", plots.percentiles(shares), "Of the runs after their warm-up, ms."),
        Section("Delivered", rates, "Frames a second."),
    ]
    if notes:
        sections.append(
            Section(
                "What else is not the same", header=("", ""), rows=[note.split(": ", 1) for note in notes]
            )
        )
    return render("Load: two runs", where, verdicts, sections)


def _over_time(runs: dict[str, Run]) -> tuple[str, str]:
    lines = {name: plots.Timeline(run) for name, run in runs.items()}
    with plots.picture(plots.WIDE) as ages:
        (axes,) = ages.axes
        for (name, line), colour in zip(lines.items(), plots.COLOURS, strict=False):
            axes.plot(line.seconds, line.ages_ms(50), ".-", color=colour, label=name, lw=1.4, ms=3)
            axes.plot(line.seconds, line.ages_ms(99), ".:", color=colour, lw=1.2, ms=3)
        axes.set_ylabel("age, ms")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
    with plots.picture(plots.WIDE) as rates:
        (axes,) = rates.axes
        for (name, line), colour in zip(lines.items(), plots.COLOURS, strict=False):
            axes.plot(line.seconds, line.rate(DELIVERED), color=colour, label=name, lw=1.4)
        axes.set_ylim(
            0, 1.05 * max(1.0, *(np.max(line.rate(DELIVERED), initial=0) for line in lines.values()))
        )
        axes.set_ylabel("frames/s")
        axes.set_xlabel("seconds")
    return ages.uri, rates.uri
