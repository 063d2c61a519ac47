"""What a run leaves: one HTML page, the same as JSON, its timeline as CSV, and a few lines on the terminal."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.figures import curves, fates, milliseconds, point_table
from loadtest.goals import Check, check, nothing_delivered
from loadtest.knee import Knee, find_knee
from loadtest.page import Verdict, render
from loadtest.plan import DOUBTFUL, MISSED, OK, REPORT, RESULT, TIMELINE
from loadtest.profile import in_words
from loadtest.queueing import fit
from loadtest.record import DELIVERED
from loadtest.results import Point, Run
from loadtest.sections import about, sections
from loadtest.timeline import STATUSES, Timeline
from loadtest.trust import warnings as doubts

PROBLEMS = 5  # messages that the terminal gets


def write(run: Run, folder: Path) -> int:
    """Write the three files into `folder`, print the summary, and return the exit status."""
    checks, warnings, points = check(run), doubts(run), run.points()
    knee = find_knee(points)
    summary = {
        "exit_status": status(run, checks, warnings),
        "warnings": warnings,
        "goals": [_plain(c) for c in checks],
        "age_ms": {name: milliseconds(values) for name, values in curves(run).items()},
        "fates": fates(run.window()),
        "points": [_plain(p) for p in points],
        "knee": vars(knee) if knee else None,
    }
    run.save(folder / RESULT, summary)
    line = Timeline(run)
    line.write(folder / TIMELINE)
    began = dt.datetime.fromtimestamp(run.began_s, dt.UTC)
    subtitle = f"{run.profile.description} {began:%Y-%m-%d %H:%M} UTC, {run.ended_s - run.began_s:.0f} s."
    parts = list(sections(run, line, points, knee))
    page = render(f"Load: {run.profile.name}", subtitle, list(_verdict(run, checks, warnings)), parts)
    (folder / REPORT).write_text(page)
    for text in lines(run, checks, warnings, knee):
        print(text, flush=True)
    print(f"report    {folder / REPORT}", flush=True)
    return status(run, checks, warnings)


def _plain(of: Check | Point) -> dict[str, Any]:
    """As JSON can carry it: null for what is not known."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in vars(of).items()}


def status(run: Run, checks: Sequence[Check], warnings: Sequence[str]) -> int:
    """3: the figures are not to be trusted. 1: a goal was missed, or nothing was delivered. Else 0."""
    if warnings:
        return DOUBTFUL
    reached = bool(run.found["users"]) if run.found is not None else all(c.ok for c in checks)
    return OK if reached and run.window().count(DELIVERED) else MISSED


def lines(run: Run, checks: Sequence[Check], warnings: Sequence[str], knee: Knee | None) -> Iterator[str]:
    """The summary for a terminal."""
    window = run.window()
    of = f" ({about(run)[0].lower()}{about(run)[1:]})" if run.answers else ""
    yield (
        f"frames    {window.offered} due = "
        + " + ".join(f"{window.count(kind)} {kind}" for kind in STATUSES)
        + of
    )
    for name, count in sorted(window.others.items()):
        yield f"          {count} {name}"
    if nothing := nothing_delivered(run):
        yield f"MISSED    {nothing}"
    for name, values in curves(run).items():
        yield f"{name:<9} " + "  ".join(f"{key} {ms:.1f} ms" for key, ms in milliseconds(values).items())
    points = run.points()
    if len(points) > 1:
        header, rows = point_table(points, fit(points, knee))
        yield "  ".join(header)
        for row in rows:
            yield "  ".join(f"{cell:>{len(name)}}" for name, cell in zip(header, row, strict=True))
    if knee is not None:
        most = in_words(knee.users)
        yield f"knee      {knee.per_s:.0f} frames/s come out at most; {most} is the most tried that held"
    if run.found is not None:
        yield f"answer    {answer(run)}"
    else:
        yield from (f"{'goal met' if c.ok else 'MISSED':<9} {c}" for c in checks)
    for message, count in run.store.problems.most_common(PROBLEMS):
        yield f"error     {count} times: {message}"
    yield from (f"WARNING   {warning}" for warning in warnings)


def answer(run: Run) -> str:
    """What a search came to, in a sentence."""
    assert run.found is not None
    users, goals = run.found["users"], ", ".join(run.found["goals"])
    if users is None:
        return "stopped before it was found"
    fps = f" at {run.profile.camera.fps:g} frames/s each" if run.profile.camera else ""
    if not users:
        return f"not even one user{fps} holds: {goals}"
    more = "at least " if users == run.found["most"] else ""
    held = [trial.held for trial in run.answers]
    trials = f" in {sum(map(bool, held))} of {len(held)} trials" if held else ""
    return f"{more}{in_words(users)}{fps} hold{'s' * (users == 1)}{trials}: {goals}"


def _verdict(run: Run, checks: Sequence[Check], warnings: Sequence[str]) -> Iterator[Verdict]:
    if nothing := nothing_delivered(run):
        yield Verdict("bad", nothing)
    yield from (Verdict("doubt", f"Not to be trusted: {warning}") for warning in warnings)
    if run.found is not None:
        yield Verdict("good" if run.found["users"] else "bad", answer(run))
    else:
        yield from (Verdict("good" if c.ok else "bad", f"{'Met' if c.ok else 'MISSED'}: {c}") for c in checks)
