"""A row of the tables of hops, from turns that are made up."""

from __future__ import annotations

import pytest

from sightline.bench.rows import row
from sightline.bench.worker import Turn


def turns(*p50_ms: float) -> list[Turn]:
    return [Turn((ms / 1e3 - 0.001, ms / 1e3, ms / 1e3 + 0.001), 1e3 / ms) for ms in p50_ms]


def test_a_slow_round_slows_both_ways_alike() -> None:
    """The second round took twice as long, on the way's first turn and on the first way's last: no matter."""
    in_process = turns(20, 40, 20)
    ours = turns(22, 42, 25)
    found = row("server", (ours, ours), (in_process, in_process))
    assert (found.p50_ms, found.added_ms) == pytest.approx((25, 2))
    assert found.p99_ms == pytest.approx(42)
    assert found.share == pytest.approx(20 / 22)
    assert found.many_per_s == pytest.approx(40)


def test_a_way_beside_itself_adds_nothing() -> None:
    same = turns(30, 20)
    found = row("in process", (same, same), (same, same))
    assert (found.added_ms, found.share) == (0, 1)
