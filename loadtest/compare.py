"""Two runs of one profile: is the second slower, faster, or is the difference within the noise?

Frames near each other in time share their luck, so they are no independent samples. Each run is cut into blocks of
BLOCK_S seconds; a block's percentile is one sample. Whether the samples differ at all says Mann and Whitney's U test;
by how much, a bootstrapped confidence interval of the ratio of their medians.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from loadtest.record import DELIVERED, percentile_s
from loadtest.results import TAIL_S, Run

BLOCK_S = 5
LEAST_BLOCKS = 5  # with fewer the U test can't reach the level below
LEVEL = 0.01  # of chance: one comparison in a hundred of equal runs may be called different
METRICS = {"age p50": 50.0, "age p90": 90.0, "age p99": 99.0}
SAME, SLOWER, FASTER = "within the noise", "SLOWER", "faster"


@dataclass(frozen=True)
class Comparison:
    """One metric of two runs: medians over blocks, their ratio with its interval, and the verdict."""

    metric: str
    first: float
    second: float
    low: float  # of the ratio second / first
    high: float
    p_value: float
    tolerance: float

    @property
    def ratio(self) -> float:
        return self.second / self.first

    @property
    def verdict(self) -> str:
        """Different only if chance is unlikely, and the whole interval is beyond what is tolerated."""
        if self.p_value < LEVEL and self.low > 1 + self.tolerance:
            return SLOWER
        if self.p_value < LEVEL and self.high < 1 / (1 + self.tolerance):
            return FASTER
        return SAME


def compare(first: Run, second: Run, tolerance: float) -> list[Comparison]:
    """Ages at three percentiles, and the time per delivered frame. Raises ValueError for runs that can't be compared.

    `tolerance`: a ratio that near to 1 doesn't matter, or comes of the machine: 0.1 is 10 %.
    """
    for run in (first, second):
        if len(_blocks(run)) < LEAST_BLOCKS:
            least_s = BLOCK_S * LEAST_BLOCKS + run.profile.warmup_s
            raise ValueError(f"{run.profile.name}: too short to compare: expected {least_s:.0f} s or more")
    if first.profile.users.keys() != second.profile.users.keys():
        raise ValueError("the runs have different kinds of users: nothing to compare")
    return [
        _compare(metric, a, b, tolerance)
        for (metric, a), (_, b) in zip(_samples(first), _samples(second), strict=True)
    ]


def _blocks(run: Run) -> list[float]:
    """When each whole block of the measured time begins."""
    begin_s, end_s = run.began_s + run.profile.warmup_s, run.load_end_s - TAIL_S
    width_s = max(BLOCK_S, run.store.step_s)
    begin_s = np.ceil(begin_s / run.store.step_s) * run.store.step_s
    return list(np.arange(begin_s, end_s - width_s, width_s))


def _samples(run: Run) -> Iterator[tuple[str, NDArray[np.float64]]]:
    width_s = max(BLOCK_S, run.store.step_s)
    windows = [run.store.window(begin_s, begin_s + width_s) for begin_s in _blocks(run)]
    for metric, percent in METRICS.items():
        yield metric, np.array([percentile_s(window.ages, percent) * 1e3 for window in windows])
    yield "ms per delivered frame", np.array([1e3 * w.seconds / max(1, w.count(DELIVERED)) for w in windows])


def _compare(metric: str, a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> Comparison:
    def ratio(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(np.median(y, axis=axis) / np.median(x, axis=axis))

    p_value = float(stats.mannwhitneyu(a, b).pvalue)
    spread = stats.bootstrap(
        (a, b), ratio, confidence_level=1 - LEVEL, method="percentile", vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval  # fmt: skip
    return Comparison(
        metric,
        float(np.median(a)),
        float(np.median(b)),
        float(spread.low),
        float(spread.high),
        p_value,
        tolerance,
    )
