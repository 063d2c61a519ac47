"""What queueing theory says to a measured curve: how long frames wait for one of the servers.

Cameras are many and not in step, so their frames come almost as by chance (M, a little more evenly), a network takes
the same time for each (D), and there are c places to work at: M/D/c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.knee import Knee
from loadtest.results import Point


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that have to wait in M/M/c, for an offered load of `load` Erlang (rate x service time).

    Erlang 1917; by the recursion of Erlang B, B(k) = load B(k-1) / (k + load B(k-1)). Needs load < servers.
    """
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def wait_mdc_s(rate_per_s: float, service_s: float, servers: int) -> float:
    """The mean wait in M/D/c before service, in seconds; infinite at or past the capacity.

    Half of M/M/c's, times the correction of Cosmetatos (INFOR 13, 1975, pp. 328-331); exact for one server
    (Pollaczek-Khinchine).
    """
    load = rate_per_s * service_s
    busy = load / servers
    if busy > 1 - 1e-6:  # the knee's own rate, but for rounding
        return math.inf
    if busy <= 0:
        return 0.0
    mmc_s = erlang_c(servers, load) * service_s / (servers * (1 - busy))
    correction = (1 - busy) * (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * busy * servers)
    return mmc_s * (1 + correction) / 2


@dataclass(frozen=True)
class Model:
    """A deployment as M/D/c: `servers` places, `service_s` each, and `base_ms` for a frame that need not wait."""

    servers: int
    service_s: float
    base_ms: float

    def mean_ms(self, rate_per_s: float) -> float:
        """The mean age of a frame at that rate."""
        return self.base_ms + 1e3 * wait_mdc_s(rate_per_s, self.service_s, self.servers)


def fit(points: Sequence[Point], knee: Knee | None) -> Model | None:
    """The model of a curve that passed its knee: its base is the least mean age up to half of the knee's rate.

    There are as many places as frames are in the deployment at its capacity if none waits (Little's law).
    """
    calm = [
        p.mean_ms for p in points if knee and p.offered_per_s <= knee.per_s / 2 and not math.isnan(p.mean_ms)
    ]
    if knee is None or not calm:
        return None
    base_ms = min(calm)
    servers = max(1, round(knee.per_s * base_ms / 1e3))
    return Model(servers, servers / knee.per_s, base_ms)
