"""Two runs of one profile: is the second worse, better, or is the difference within the noise?

Frames near each other in time share their luck, so they are no independent samples. Each run is cut into blocks of
BLOCK_S seconds; a block's percentile, or its share of frames, is one sample. A block in which nothing was delivered is
slower than any other. Whether the samples differ at all says Mann and Whitney's U test; by how much, a bootstrapped
confidence interval: of the ratio of the medians of times, of the difference of the means of shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtest.percentiles import known, percentile_s
from loadtest.record import DELIVERED, ERRORED, Window
from loadtest.results import Run
from loadtest.shape import TAIL_S

BLOCK_S = 5
LEAST_BLOCKS = 5  # with fewer the U test can't reach the level below
LEVEL = 0.01  # of chance: one row in a hundred of equal runs may be called different
RESAMPLES = 9999
POINTS = 1.0  # percent of the frames: a smaller difference of shares doesn't matter
PERCENTS = (50.0, 90.0, 99.0)
TOP = 99.9  # where blocks have enough frames for it; otherwise the maximum
SAME, WORSE, BETTER, UNCLEAR = "within the noise", "WORSE", "better", "UNCLEAR: run longer, or again"

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One metric of two runs, of which more is worse, its change with an interval, and the verdict.

    Of times: medians over blocks in milliseconds, infinite if most blocks delivered nothing; the change is second /
    first. Of shares (`is_share`): means over blocks in percent; the change is second - first, in points.
    """

    metric: str
    is_share: bool
    first: float
    second: float
    change: float
    low: float
    high: float
    p_value: float
    tolerance: float

    @property
    def verdict(self) -> str:
        """Different only if chance is unlikely, and the whole interval is beyond what is tolerated.

        Else it is noise, unless so many frames went missing that it must not be called so: an outage may be the only
        one of a run, and no test knows whether the next run has one.
        """
        least, most = (-POINTS, POINTS) if self.is_share else (1 / (1 + self.tolerance), 1 + self.tolerance)
        if self.p_value < LEVEL and self.low > most:
            return WORSE
        if self.p_value < LEVEL and self.high < least:
            return BETTER
        missing = self.is_share and not least <= self.change <= most
        known = math.isfinite(self.first + self.second + self.high)
        return UNCLEAR if missing or not known else SAME

    @property
    def cells(self) -> list[str]:
        """A row of a table with the titles TITLES."""
        sign, unit = ("+", " points") if self.is_share else ("", "")
        digits = 1 if self.is_share else 2
        low, high, change = (f"{value:{sign}.{digits}f}" for value in (self.low, self.high, self.change))
        change, interval = (
            f"{change}{unit}",
            f"{low} to {high}" if math.isfinite(self.high) else f"{low} or more",
        )
        first, second = (
            f"{value:.1f}" if math.isfinite(value) else NO_FRAMES for value in (self.first, self.second)
        )
        if NO_FRAMES in (first, second):
            change = interval = ""
        return [self.metric, first, second, change, interval, f"{self.p_value:.2g}", self.verdict]


NO_FRAMES = "no frames"  # in most blocks
TITLES = ("", "first", "second", "change", f"{100 * (1 - LEVEL):.0f} % interval", "p", "verdict")


def compare(first: Run, second: Run, tolerance: float) -> list[Comparison]:
    """Ages at four percentiles, the time per delivered frame, and shares of frames.

    `tolerance`: a ratio that near to 1 doesn't matter, or comes of the machine: 0.1 is 10 %. Raises ValueError for runs
    that can't be compared.
    """
    _check_same_load(first, second)
    for run in (first, second):
        if len(_blocks(run)) < LEAST_BLOCKS:
            least_s = BLOCK_S * LEAST_BLOCKS + run.profile.warmup_s
            raise ValueError(f"{run.profile.name}: too short to compare: expected {least_s:.0f} s or more")
    a, b = ([run.store.window(*block) for block in _blocks(run)] for run in (first, second))
    return [
        _compare(name, is_share, np.array(list(map(of, a))), np.array(list(map(of, b))), tolerance)
        for name, is_share, of in _metrics([*a, *b])
    ]


def words(value: object) -> str:
    """A field of a profile for people; "none" where it has nothing."""
    if isinstance(value, tuple):
        return ", then ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check_same_load(first: Run, second: Run) -> None:
    if first.found is not None or second.found is not None:
        raise ValueError(
            "a search for the capacity changes the load as it goes: compare what two of them answered"
        )
    for name in ("camera", "predict", "rest", "stages", "images", "warmup_s"):
        one, other = getattr(first.profile, name), getattr(second.profile, name)
        if one != other:
            raise ValueError(
                f"not the same load, nothing to compare: {name} is {words(one)} in the first run, "
                f"{words(other)} in the second"
            )


def differences(first: Run, second: Run) -> Iterator[str]:
    """What else is not the same in the two runs: to be known, or what is to be compared."""
    pairs = [(name, one, second.machine.get(name, "")) for name, one in first.machine.items()]
    if first.profile.stack is None:  # else it is on a new port each time
        pairs += [(name, one, second.target.get(name, "")) for name, one in first.target.items()]
    for name in ("stack", "events"):
        pairs.append((name, words(getattr(first.profile, name)), words(getattr(second.profile, name))))
    for name, one, other in pairs:
        if one != other:
            yield f"{name}: {one or 'none'} in the first run, {other or 'none'} in the second"


def _blocks(run: Run) -> list[tuple[float, float]]:
    """From when until when each whole block of the measured time lasts."""
    begin_s, end_s = run.began_s + run.profile.warmup_s, run.load_end_s - TAIL_S
    width_s = math.ceil(BLOCK_S / run.store.step_s) * run.store.step_s
    begin_s = math.ceil(begin_s / run.store.step_s) * run.store.step_s
    return [(at, at + width_s) for at in np.arange(begin_s, end_s - width_s, width_s).tolist()]


def _metrics(windows: Sequence[Window]) -> Iterator[tuple[str, bool, Callable[[Window], float]]]:
    """Names, whether each is a share, and what it is of a block."""
    enough = all(known(window.ages, TOP) for window in windows if window.count(DELIVERED))
    for percent in (*PERCENTS, TOP if enough else 100.0):

        def age_ms(window: Window, percent: float = percent) -> float:
            return percentile_s(window.ages, percent) * 1e3 if window.count(DELIVERED) else math.inf

        yield "age max" if percent == 100 else f"age p{percent:g}", False, age_ms
    yield "ms per delivered frame", False, _ms_per_frame
    yield "not delivered %", True, lambda w: 100 * (1 - w.share(DELIVERED)) if w.offered else 0.0
    yield "errored %", True, lambda w: 100 * w.share(ERRORED) if w.offered else 0.0


def _ms_per_frame(window: Window) -> float:
    frames = window.count(DELIVERED)
    return 1e3 * window.seconds / frames if frames else math.inf


def _compare(metric: str, is_share: bool, a: Samples, b: Samples, tolerance: float) -> Comparison:
    middle = np.mean if is_share else np.median

    def change(x: Samples, y: Samples) -> Samples:
        one, other = np.asarray(middle(x, axis=-1)), np.asarray(middle(y, axis=-1))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(other - one if is_share else other / one)

    rng = np.random.default_rng(0)
    drawn = change(*(rng.choice(samples, (RESAMPLES, len(samples))) for samples in (a, b)))
    drawn = np.where(np.isnan(drawn), 1.0, drawn)  # nothing delivered by either: no change
    # Whole ranks: between two infinite values there is nothing to interpolate.
    low = np.quantile(drawn, LEVEL / 2, method="lower")
    high = np.quantile(drawn, 1 - LEVEL / 2, method="higher")
    equal = np.unique(np.concatenate([a, b])).size == 1  # scipy has no p for that
    p_value = 1.0 if equal else float(stats.mannwhitneyu(a, b).pvalue)
    return Comparison(
        metric, is_share, float(middle(a)), float(middle(b)), float(change(a, b)), float(low), float(high), p_value,
        tolerance,
    )  # fmt: skip
