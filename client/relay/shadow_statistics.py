"""Confidence intervals of what frames say, where frames of one moment are not independent of each other."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
NOTHING = (math.nan, math.nan, math.nan)


def share_interval(
    hits: Floats, of: Floats, confidence: float, least_effect: float = 1.0
) -> tuple[float, float, float]:
    """A share Σhits / Σof over clusters (one value each): the estimate, and its interval.

    The interval is Clopper and Pearson's at the effective sample size (Korn & Graubard, Survey Methodology 24, 1998):
    exact for rare failures, of which one in a few frames says little. The effective sample size is the sample
    divided by the design effect, the ratio of the clusters' variance to that of independent draws, at least
    `least_effect`. Where all clusters are alike that ratio is not known: then each counts as one draw. NaNs where there
    is nothing.
    """
    total = float(of.sum())
    if not total:
        return NOTHING
    share = float(hits.sum()) / total
    effect, independent = total / len(of), share * (1 - share) / total
    if independent > 0 and len(of) > 1:
        effect = _ratio_variance(hits, of, share) / independent
    effect = max(effect, least_effect)
    size = total / effect
    found, tail = share * size, (1 - confidence) / 2
    low = float(special.betaincinv(found, size - found + 1, tail)) if share > 0 else 0.0
    high = float(special.betaincinv(found + 1, size - found, 1 - tail)) if share < 1 else 1.0
    return share, min(share, low), max(share, high)


def mean_interval(sums: Floats, counts: Floats, confidence: float) -> tuple[float, float, float]:
    """A mean Σsums / Σcounts over clusters, and Student's interval of that ratio (Cochran, Sampling Techniques, 6.4).

    NaNs where there are fewer than two clusters.
    """
    total = float(counts.sum())
    if not total or len(counts) < 2:
        return NOTHING
    mean = float(sums.sum()) / total
    half = float(special.stdtrit(len(counts) - 1, (1 + confidence) / 2)) * math.sqrt(
        _ratio_variance(sums, counts, mean)
    )
    return mean, mean - half, mean + half


def _ratio_variance(above: Floats, below: Floats, ratio: float) -> float:
    """The variance of Σabove / Σbelow over n clusters, linearised: n / (n - 1) Σ(above - ratio below)² / (Σbelow)²."""
    clusters = len(below)
    spread = float(np.square(above - ratio * below).sum())
    return clusters / (clusters - 1) * spread / float(below.sum()) ** 2
