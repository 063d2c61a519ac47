"""Where a deployment has enough: throughput follows what is offered up to the knee, and stays there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from loadtest.results import Point

HOLDS_PERCENT = 99.0  # of what is offered is delivered, up to the knee
LEAST_POINTS = 3
PAST = 1.05  # offered so much more than the most that comes out: then the knee was passed


@dataclass(frozen=True)
class Knee:
    """`per_s`: frames a second that come out however many are offered. `users`: the most of those tried that held."""

    per_s: float
    users: int


def find_knee(points: Sequence[Point]) -> Knee | None:
    """The knee of a ramp: the C whose min(offered, C) is nearest to what was delivered; None if it was not passed.

    Nearest by absolute differences, not squares: far past its knee a deployment may deliver much less than it could.
    """
    if len(points) < LEAST_POINTS:
        return None
    offered = np.array([point.offered_per_s for point in points])
    delivered = np.array([point.delivered_per_s for point in points])

    def error(most: float) -> float:
        return float(np.sum(np.abs(np.minimum(offered, most) - delivered)))

    most = float(
        minimize_scalar(error, bounds=(float(delivered.min()), float(offered.max())), method="bounded").x
    )
    if offered.max() < PAST * most:
        return None
    held = [
        p.users for p in points if p.delivered_percent >= HOLDS_PERCENT and p.offered_per_s <= PAST * most
    ]
    return Knee(most, max(held, default=0))
