"""A row of the tables of hops, from turns that are made up."""

from __future__ import annotations

import pytest

from mesh.bench import MeshCost
from sightline.bench.rows import Row, row
from sightline.bench.stack import RELAY, SIDECARS, goals
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


def test_goals_say_whether_they_are_met() -> None:
    rows = [Row(RELAY, 23, 30, 2.1, 60, 0.92), Row(SIDECARS, 24, 31, 3.5, 58, 0.888)]
    assert goals(rows, MeshCost(100_000, 0.5, 1.0, 0.4, 0.9, 4, 900, 800)) == [
        "relay and server add 2.10 ms: goal 3, met",
        "the mesh adds 1.00 ms: goal 1, met",
        "89 % through the sidecars: goal 90, missed",
    ]
