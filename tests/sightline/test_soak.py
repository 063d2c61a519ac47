"""What the soak judges: growth and accounts."""

import os
from collections import Counter

import pytest

from client.report import outcome_text
from client.types import Account
from sightline.bench.soak import Sample, accounting, course, sample


def samples(rss_mb: list[float], descriptors: int = 10, more: int = 0) -> list[Sample]:
    return [Sample(2.0 * i, rss, descriptors + more * i) for i, rss in enumerate(rss_mb)]


def test_memory_that_grows_and_memory_that_does_not() -> None:
    leak = course("leak", samples([100 + i for i in range(100)]))
    assert leak.slope_mb_h == pytest.approx(1800)
    assert leak.growth_mb == pytest.approx(74)
    assert not leak.steady
    warm = course("warm", samples([10.0 * i for i in range(20)] + [200 + i % 3 for i in range(80)]))
    assert warm.steady
    assert course("big", samples([1000 + 0.2 * i for i in range(100)])).steady  # 15 MB of 1000


def test_descriptors_that_grow() -> None:
    assert not course("leak", samples([100.0] * 100, more=1)).steady
    assert course("steady", samples([100.0] * 100)).steady


def test_a_soak_too_short_to_judge() -> None:
    with pytest.raises(ValueError, match="expected at least 8 seconds"):
        course("short", samples([1.0, 2.0]))


def test_a_sample_of_this_process() -> None:
    before = sample(os.getpid(), 0.0)
    with open(os.devnull):
        assert sample(os.getpid(), 0.0).descriptors == before.descriptors + 1
    assert 10 < before.rss_mb < 10_000


def test_accounts_that_add_up_and_that_do_not() -> None:
    account = Account(captured=10, delivered=6, errored=1)
    account.dropped["expired"] = 3
    relay = Counter({"received": 9, "pending": 0, "delivered": 6, "errored": 1, "dropped": 2})
    line = f"frames    {outcome_text(account)}"
    assert accounting(["rate 5", line], relay) == []
    assert accounting([], relay) == ["the cameras told no account of their frames"]
    account.errored = 0
    assert "9 delivered" not in accounting([f"frames    {outcome_text(account)}"], relay)[0]
    assert accounting([line], relay + Counter(received=1)) == ["relay: 10 received, 9 settled, 0 pending"]
    lost = accounting([line], relay - Counter(delivered=1) + Counter(dropped=1))
    assert lost == ["the relay delivered 5, the cameras got 6"]
