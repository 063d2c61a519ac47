"""HDR histograms of microseconds (http://hdrhistogram.org), and what is read from them.

The library's own ways to a percentile and to the mean go through all 24,000 counters in Python, 3 and 180 ms each, and
a report wants them of each second of a run. Here NumPy finds the counters that are not 0, and the library knows their
values.
"""

from __future__ import annotations

import math

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

MOST_US = 600_000_000  # 10 minutes; whatever took longer counts as that
DIGITS = 3  # a value is off by 0.1 % at most


def histogram() -> HdrHistogram:
    """An empty histogram of microseconds, 1 to MOST_US."""
    return HdrHistogram(1, MOST_US, DIGITS)


def percentile_s(of: HdrHistogram, percent: float) -> float:
    """The seconds that `percent` (above 0, to 100) of the values do not exceed; NaN where there is none."""
    if not of.total_count:
        return math.nan
    places, counts = _recorded(of)
    rank = of.get_target_count_at_percentile(percent)
    place = int(places[np.searchsorted(np.cumsum(counts), rank)])
    return float(of.get_highest_equivalent_value(of.get_value_from_index(place))) / 1e6


def mean_s(of: HdrHistogram) -> float:
    """The mean of the values, in seconds, each as the middle of its counter's range; NaN where there is none."""
    if not of.total_count:
        return math.nan
    total = 0
    for place, count in zip(*(array.tolist() for array in _recorded(of)), strict=True):
        least = of.get_value_from_index(place)
        total += count * (least + (of.get_highest_equivalent_value(least) + 1 - least) // 2)
    return float(total / of.total_count) / 1e6


def known(of: HdrHistogram, percent: float) -> bool:
    """Whether there are enough values for a percentile: with fewer than 1,000 the maximum would pass for p99.9."""
    count = int(of.total_count)
    return count * (100 - percent) >= 100 - 1e-6 if percent < 100 else count > 0


def _recorded(of: HdrHistogram) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of its counters that are not 0, in rising order of their values, and what they say."""
    counts = np.ctypeslib.as_array(of.counts)
    places = np.flatnonzero(counts)
    return places, counts[places].astype(np.int64)
