"""Which version answers: the weighted route, the header, and two rules that look like a split (4 s)."""

from __future__ import annotations

import math
from collections.abc import Iterator
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


def interval(calls: int, share: float) -> tuple[float, float]:
    """Where the count lies with 99.9 % probability, by the normal approximation of the binomial."""
    half = Z_999 * math.sqrt(calls * share * (1 - share))
    return calls * share - half, calls * share + half


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
        caller.many(calls)
        low, high = interval(calls, share)
        assert low <= caller.versions[2] <= high
        assert caller.versions.total() == calls
        assert mesh.stats().served() == {"v1": caller.versions[1], "v2": caller.versions[2]}


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
