"""The page of a comparison: the verdicts, and both runs in each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from hdrh.histogram import HdrHistogram

from loadtest import plots
from loadtest.compare import BETTER, SAME, TITLES, WORSE, Comparison
from loadtest.figures import curves, tail, title
from loadtest.page import Drawing, Section, Verdict, render
from loadtest.picture import COLOURS, WIDE, picture
from loadtest.record import DELIVERED
from loadtest.results import Run
from loadtest.sections import NOTHING
from loadtest.timeline import Timeline

KINDS = {WORSE: "bad", BETTER: "good", SAME: "good"}


def comparison_page(
    runs: dict[str, Run], where: str, found: Sequence[Comparison], doubts: Sequence[str], notes: Sequence[str]
) -> str:
    """The HTML. `runs`: the two by what they are called. `where`: what they are."""
    verdicts = [Verdict("doubt", f"Not to be trusted: {doubt}") for doubt in doubts]
    for verdict in dict.fromkeys(item.verdict for item in found):
        metrics = ", ".join(item.metric for item in found if item.verdict == verdict)
        verdicts.append(Verdict(KINDS.get(verdict, "doubt"), f"{verdict}: {metrics}"))
    lines = {name: Timeline(run) for name, run in runs.items()}
    shares = {f"{name}: {user}": values for name, run in runs.items() for user, values in curves(run).items()}
    note = "Of blocks of some seconds: medians of times in ms, means of shares in percent; more is worse."
    sections = [
        Section("Figures", note=note, header=TITLES, rows=[item.cells for item in found]),
        *(_aged(lines, shares) if shares else [Section("Percentiles", note=NOTHING)]),
        Section("Delivered", rates(lines), "Frames a second."),
    ]
    if notes:
        sections.append(
            Section(
                "What else is not the same", header=("", ""), rows=[note.split(": ", 1) for note in notes]
            )
        )
    return render("Load: two runs", where, verdicts, sections)


def _aged(lines: dict[str, Timeline], shares: dict[str, HdrHistogram]) -> Iterator[Section]:
    yield ages(lines)
    yield Section("Percentiles", plots.percentiles(shares), "Of the runs after their warm-up, ms.")


def ages(lines: dict[str, Timeline]) -> Section:
    """Both runs' ages; one of them at least has delivered something."""
    top = tail(window.ages for line in lines.values() for window in line.windows)
    with picture(WIDE) as made:
        (axes,) = made.axes
        for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
            axes.plot(line.seconds, line.ages_ms(50), ".-", color=colour, label=name, lw=1.4, ms=3)
            axes.plot(line.seconds, line.ages_ms(top), ".:", color=colour, lw=1.2, ms=3)
        axes.set_ylabel("age, ms")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
    return Section("Age over time", made.drawing, f"p50 drawn through, {title(top)} dotted, ms.")


def rates(lines: dict[str, Timeline]) -> Drawing:
    """What both runs delivered."""
    with picture(WIDE) as made:
        (axes,) = made.axes
        most = 1.0
        for (name, line), colour, dashes in zip(lines.items(), COLOURS, ("-", "--"), strict=False):
            delivered = line.rate(DELIVERED)  # often equal, so the second is dashed
            axes.plot(line.seconds, delivered, color=colour, label=name, lw=1.8, ls=dashes)
            most = max(most, float(np.max(delivered, initial=0)))
        axes.set_ylim(0, 1.05 * most)
        axes.set_ylabel("frames/s")
        axes.set_xlabel("seconds")
    return made.drawing
