"""Which version answers: the weighted route, the header, and two rules that look like a split (4 s)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mesh.live.support import (
    ISTIO,
    Caller,
    FakeServer,
    component,
    operation,
    outbound,
    running,
    topology,
)

CALLS = 3000
Z_999 = 3.2905  # two-sided 99.9 %
Z_SURE = 5.0  # 99.99994 %: where one test has many such checks


def interval(calls: int, share: float, z: float = Z_SURE) -> tuple[float, float]:
    """Where the count of a binomial lies, by its normal approximation."""
    half = z * math.sqrt(calls * share * (1 - share))
    return calls * share - half, calls * share + half


def assert_share(counts: Callable[[], tuple[int, int]], share: float) -> None:
    """The share of the first of two counts is in the 99.9 % interval. A right one misses it once in 1,000, so it
    gets a second try; a wrong one misses it twice."""
    for attempt in range(2):
        first, other = counts()
        low, high = interval(first + other, share, Z_999)
        if low <= first <= high:
            return
        assert attempt == 0, f"{first} of {first + other} is not {share:.0%}"


@pytest.fixture
def pair() -> Iterator[dict[str, list[FakeServer]]]:
    with FakeServer(1) as v1, FakeServer(2) as v2:
        yield {"v1": [v1], "v2": [v2]}


@pytest.mark.parametrize(
    ("folder", "share"), [(None, 0.2), ("0", 0.0), ("5", 0.05), ("50", 0.5), ("100", 1.0)]
)
def test_share_of_v2_is_the_weight(
    pair: dict[str, list[FakeServer]], tmp_path: Path, folder: str | None, share: float
) -> None:
    weights = [ISTIO / "components" / "weights" / folder] if folder else []
    calls = CALLS if folder is None else 500
    with running(topology(pair), tmp_path, *weights) as mesh, Caller(outbound(mesh)) as caller:

        def counts() -> tuple[int, int]:
            caller.versions.clear()
            caller.many(calls)
            assert caller.versions.total() == calls
            return caller.versions[2], caller.versions[1]

        assert_share(counts, share)
        v1, v2 = pair["v1"][0].calls, pair["v2"][0].calls
        assert mesh.stats().served() == {"v1": v1, "v2": v2}


def test_two_rules_are_no_split(pair: dict[str, list[FakeServer]], tmp_path: Path) -> None:
    """A weight of 20 in the header's rule and of 80 in the next: all of the traffic goes to v1."""
    rules = component(
        tmp_path / "rules",
        "VirtualService",
        "tf-serving",
        operation("add", "/spec/http/0/route/0/weight", 20),
        operation("remove", "/spec/http/1/route/1"),
    )
    with running(topology(pair), tmp_path, rules) as mesh, Caller(outbound(mesh)) as caller:
        caller.many(300)
        assert caller.versions == {1: 300}


def test_header_chooses_v2(pair: dict[str, list[FakeServer]], tmp_path: Path) -> None:
    with running(topology(pair), tmp_path) as mesh, Caller(outbound(mesh)) as caller:
        caller.many(300, [("version", "v2")])
        assert caller.versions == {2: 300}
        caller.many(100, [("version", "v9")])  # no such rule: the weights decide
        assert caller.versions[1] > 0


def test_header_does_nothing_without_its_rule(pair: dict[str, list[FakeServer]], tmp_path: Path) -> None:
    no_rule = component(tmp_path / "c", "VirtualService", "tf-serving", operation("remove", "/spec/http/0"))
    with running(topology(pair), tmp_path, no_rule) as mesh, Caller(outbound(mesh)) as caller:
        caller.many(300, [("version", "v2")])
        assert caller.versions[1] > 150
