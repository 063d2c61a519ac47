"""How often rollouts decide wrongly, by simulation: the bounds that docs/rollout.md promises."""

from __future__ import annotations

import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from sightline.rollout.simulate import CANDIDATES, rates

ROLLOUTS = 30  # of the 200 that `make demo-rollout` plays


def test_good_ones_are_promoted_and_bad_ones_are_not() -> None:
    lines: list[str] = []
    promoted = rates(ROLLOUTS, lines.append)
    assert set(promoted) == {candidate.name for candidate in CANDIDATES}
    assert promoted["identical"] >= 0.99
    assert promoted["2 % worse"] >= 0.95
    assert promoted["10 % worse"] <= 0.01
    assert len(lines) == 2 + len(CANDIDATES)
