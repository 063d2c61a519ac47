"""What is read from histograms is what their library reads from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from loadtest.percentiles import DIGITS, MOST_US, histogram, known, mean_s, percentile_s


@pytest.mark.parametrize("values", [1, 7, 3000])
@pytest.mark.parametrize("median_us", [3, 2_000, 3_000_000, 500_000_000])
def test_percentiles_and_mean_are_the_librarys(values: int, median_us: int) -> None:
    made = histogram()
    for value_us in np.random.default_rng(values).lognormal(math.log(median_us), 0.5, values):
        made.record_value(min(max(1, round(value_us)), MOST_US))
    travelled = HdrHistogram.decode(made.encode())  # as it travels, its counters cut off
    for of in (made, travelled):
        for percent in (0.1, 50, 90, 99, 99.9, 100):
            assert percentile_s(of, percent) * 1e6 == pytest.approx(
                of.get_value_at_percentile(percent), rel=1e-12
            )
        assert mean_s(of) * 1e6 == pytest.approx(of.get_mean_value(), rel=1e-12)


def test_the_ends_of_the_scale() -> None:
    of = histogram()
    assert math.isnan(percentile_s(of, 50))
    assert math.isnan(mean_s(of))
    of.record_value(1)
    of.record_value(MOST_US)
    assert percentile_s(of, 50) == 1e-6
    assert percentile_s(of, 100) == pytest.approx(MOST_US / 1e6, rel=10.0**-DIGITS)


@pytest.mark.parametrize(
    ("values", "percent", "enough"),
    [
        (0, 50, False), (1, 50, False), (2, 50, True), (999, 99.9, False), (1000, 99.9, True), (1, 100, True),
        (0, 100, False),
    ],
)  # fmt: skip
def test_a_percentile_needs_as_many_values_as_it_says(values: int, percent: float, enough: bool) -> None:
    of = histogram()
    for _ in range(values):
        of.record_value(1)
    assert known(of, percent) is enough
