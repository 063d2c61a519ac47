"""Why a run's figures are not to be trusted: the generator itself was the bottleneck, or lost count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtest.percentiles import known, percentile_s
from loadtest.profile import Profile, in_words
from loadtest.record import LAG, LATENESS, Window
from loadtest.results import Run, point_window
from loadtest.shape import Plateau

# The generator's own delay may be a tenth of what it measures, at each percentile that counts, or 2 ms, which a busy
# machine's scheduler takes.
OWN_SHARE, OWN_LEAST_S = 0.1, 0.002
CPU_LIMIT = 90.0  # percent of a core: a process has one thread of Python
OFFERED_PERCENT = 98.0  # of what was planned, at least
CLOCK_S = 0.5  # that a worker's clock may be off: half a slot of time


def warnings(run: Run) -> list[str]:
    """All there is to say against the figures, each in a line."""
    found = [f"a user ended, and the run with it: {run.failure}"] if run.failure else []
    found += own_limits(run)
    found += [text for plateau in run.decisive if (text := too_few(run, plateau))][:1]
    off_s = max(run.store.behind_s.values(), key=abs, default=0.0)
    if abs(off_s) > CLOCK_S:
        found.append(
            f"a worker's clock is {off_s:+.1f} s behind the master's: its frames are in the wrong seconds"
        )
    if run.unaccounted:
        found.append(f"{run.unaccounted} frames are not accounted for")
    return found


def short_percent(profile: Profile, plateau: Plateau, window: Window) -> float | None:
    """The percent of the planned frames that were due, where it is too little; None if it is enough, or not known.

    Each user may have one frame less in a window than its rate says: it lies beyond the edge.
    """
    rate = profile.rate_per_user
    planned = plateau.users * (rate or 0.0) * window.seconds
    if not planned or window.offered >= OFFERED_PERCENT / 100 * planned - plateau.users:
        return None
    return 100 * window.offered / planned


def too_few(run: Run, plateau: Plateau) -> str:
    """What is to be said where a plateau had less load than was planned; "" where it had enough."""
    percent = short_percent(run.profile, plateau, point_window(run.store, plateau))
    if percent is None:
        return ""
    planned_per_s = plateau.users * (run.profile.rate_per_user or 0.0)
    return (
        f"the load generator offered {percent:.0f} % of the {planned_per_s:g} frames/s that "
        f"{in_words(plateau.users)} would send: the load was smaller than it says"
    )


def own_limits(run: Run) -> list[str]:
    """Where the generator was slower than what it measures, at p99 or the percentile of a goal."""
    percents = sorted({99.0, *(goal.at for goal in run.profile.slo if goal.metric == "age_ms")})
    found = []
    for series, what in ((LATENESS, "sent frames"), (LAG, "noticed results")):
        late = [late for plateau in run.decisive for late in _late(run, series, plateau, percents)]
        if late:
            own_s, allowed_s, where = max(late, key=lambda item: item[0] / item[1])
            found.append(
                f"the load generator {what} {own_s * 1e3:.1f} ms late at {where}, more than {allowed_s * 1e3:.1f} ms: "
                "the figures are partly its own (give it more processes, or a machine to itself)"
            )
    cpu = max(run.store.cpu_percent.values(), default=0.0)
    if cpu > CPU_LIMIT:
        found.append(f"a process of the load generator used {cpu:.0f} % of a core: add --processes")
    return found


def _late(
    run: Run, series: str, plateau: Plateau, percents: Sequence[float]
) -> Iterator[tuple[float, float, str]]:
    """Where the generator was later in a plateau than it may be: seconds, what was allowed, and at what percentile."""
    begin_s, end_s = plateau.steady_s
    begin_s = max(begin_s, run.began_s + run.profile.warmup_s)
    ages, own = run.store.window(begin_s, end_s).ages, run.store.values(series, begin_s, end_s)
    if not ages.total_count:
        return  # there are no figures that could be partly its own
    for percent in percents:
        if not known(own, percent):
            continue
        allowed_s = max(OWN_SHARE * percentile_s(ages, percent), OWN_LEAST_S)
        own_s = percentile_s(own, percent)
        if own_s > allowed_s:
            users = f" with {in_words(plateau.users)}" if len(run.plateaus) > 1 else ""
            yield own_s, allowed_s, f"p{percent:g}{users}"
