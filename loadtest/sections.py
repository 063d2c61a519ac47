"""The sections of a run's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtest import plots
from loadtest.figures import CLOSED, COLUMNS, curves, fates, milliseconds, point_table
from loadtest.knee import HOLDS_PERCENT, LEAST_POINTS, Knee
from loadtest.page import Section
from loadtest.profile import in_words
from loadtest.queueing import fit
from loadtest.record import STAGE, split
from loadtest.results import Point, Run
from loadtest.timeline import NOT_TOLD, Timeline

NOTHING = "Nothing was delivered."
SENT_TO = {"camera": "relay", "predict": "server", "rest": "rest"}


def sections(run: Run, line: Timeline, points: Sequence[Point], knee: Knee | None) -> Iterator[Section]:
    """All that a run has something to show for."""
    if len(points) > 1:
        yield load_section(run, points, knee)
    if any(line.ages):
        note = (
            "From when a frame was due until its result. A percentile has a dot where there were enough frames for it: "
            "p99 takes 100."
        )
        yield Section("Age over time", plots.latency(line), note)
    yield percentile_section(run)
    if line.slots:
        yield Section(
            "Throughput", plots.throughput(line), "What was offered, what came out, and by how many users."
        )
    yield fate_section(run, line)
    versions = line.versions()
    if len(versions.keys() - {NOT_TOLD}) > 1:
        yield Section("Versions served", plots.stacked(line, versions, "frames/s"))
    if any(split(name)[0] == STAGE for name in run.store.totals):
        yield Section("Where the time goes", plots.stages(run), "Parts of the way of delivered frames.")
    if line.slots:
        yield Section(
            "The generator itself", plots.generator(line), "Its own delay counts as age, so it must be small."
        )
    if run.store.problems:
        problems = [(message, str(count)) for message, count in run.store.problems.most_common()]
        yield Section("Messages", header=("", "times"), rows=problems)
    target = [(SENT_TO[user], run.target[SENT_TO[user]]) for user in run.profile.users]
    yield Section("Machine and versions", header=("", ""), rows=[*run.machine.items(), *target])


def load_section(run: Run, points: Sequence[Point], knee: Knee | None) -> Section:
    """The curve of a ramp or a search."""
    limits_ms = [
        g.max for g in run.profile.slo if g.metric == "age_ms" and g.max is not None and not g.during
    ]
    note = knee_note(points, knee)
    model = fit(points, knee)
    if model is not None:
        note += (
            f" Frames that need not wait take {model.base_ms:.0f} ms; M/D/{model.servers} with "
            f"{1e3 * model.service_s:.1f} ms each says what they would wait if none were dropped."
        )
    header, rows = point_table(points, model)
    picture = plots.curve(points, knee, min(limits_ms, default=None))
    return Section("Load and knee", picture, note, header, rows)


def knee_note(points: Sequence[Point], knee: Knee | None) -> str:
    """What the curve says of the knee."""
    if knee is not None:
        return f"No more than {knee.per_s:.0f} frames/s come out; {in_words(knee.users)} is the most tried that held."
    if all(p.delivered_percent >= HOLDS_PERCENT for p in points):
        return "All that was offered came out: the knee was not passed."
    if len(points) < LEAST_POINTS:
        return f"Not all that was offered came out; {len(points)} loads are too few to tell a knee."
    return "Not all that was offered came out, but no knee can be told."


def percentile_section(run: Run) -> Section:
    """What share of the frames was delivered within what time."""
    shown = curves(run)
    if not shown:
        return Section("Percentiles", note=NOTHING)
    rows = []
    for name, values in shown.items():
        at = milliseconds(values)
        cells = (f"{at[column]:.2f}" if column in at else "" for column in COLUMNS)
        rows.append((name, str(values.total_count), *cells))
    note = f"{about(run)}, ms."
    if any(CLOSED in name for name in shown):
        note += " Closed: one call after another, so a stall counts once, however long."
    return Section("Percentiles", plots.percentiles(shown), note, ("", "frames", *COLUMNS), rows)


def about(run: Run) -> str:
    """What the figures are of."""
    if answers := run.answers:
        return f"Of the last trial of {in_words(answers[-1].users)}"
    return "Of the run after its warm-up" if run.profile.warmup_s else "Of the run"


def fate_section(run: Run, line: Timeline) -> Section:
    """What became of the frames."""
    window, kinds = run.window(), line.kinds()
    picture = plots.stacked(line, kinds, "frames/s") if kinds else None
    note = (
        f"{about(run)}; every frame that was due is one of these."
        if window.others
        else f"{about(run)}: all were delivered."
    )
    rows = [
        (name, str(count), f"{100 * count / window.offered:.3f}" if window.offered else "")
        for name, count in fates(window).items()
    ]
    return Section("Fates", picture, note, ("", "frames", "% of offered"), rows)
