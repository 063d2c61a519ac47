"""Pauses between attempts."""

from __future__ import annotations

import random

import pytest

from client.backoff import Backoff


def test_pauses_double_up_to_the_cap_and_begin_again_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    backoff = Backoff(0.1, 1.0)
    assert [backoff.next_s() for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    backoff.reset()
    assert [backoff.next_s() for _ in range(2)] == [0.1, 0.2]


def test_jitter_takes_up_to_half_of_a_pause_and_spreads_over_it() -> None:
    pauses_s = [Backoff(1.0, 8.0).next_s() for _ in range(2000)]
    assert 0.5 <= min(pauses_s) < 0.55
    assert 0.95 < max(pauses_s) <= 1.0
    capped = Backoff(8.0, 8.0)
    assert all(4.0 <= capped.next_s() <= 8.0 for _ in range(50))
