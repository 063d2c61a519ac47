"""Which version answers: the weighted route, the header, and two rules that look like a split (4 s)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mesh.live.support import ISTIO, Versions, assert_share, called, component, operation

CALLS = 3000


@pytest.mark.parametrize(
    ("folder", "share"), [(None, 0.2), ("0", 0.0), ("5", 0.05), ("50", 0.5), ("100", 1.0)]
)
def test_share_of_v2_is_the_weight(pair: Versions, tmp_path: Path, folder: str | None, share: float) -> None:
    weights = [ISTIO / "components" / "weights" / folder] if folder else []
    calls = CALLS if folder is None else 500
    with called(pair, tmp_path, *weights) as (mesh, caller):

        def counts() -> tuple[int, int]:
            caller.versions.clear()
            caller.many(calls)
            assert caller.versions.total() == calls
            return caller.versions[2], caller.versions[1]

        assert_share(counts, share)
        v1, v2 = pair["v1"][0].calls, pair["v2"][0].calls
        assert mesh.stats().served() == {"v1": v1, "v2": v2}


def test_two_rules_are_no_split(pair: Versions, tmp_path: Path) -> None:
    """A weight of 20 in the header's rule and of 80 in the next: all of the traffic goes to v1."""
    rules = component(
        tmp_path / "rules",
        "VirtualService",
        "tf-serving",
        operation("add", "/spec/http/0/route/0/weight", 20),
        operation("remove", "/spec/http/1/route/1"),
    )
    with called(pair, tmp_path, rules) as (_, caller):
        caller.many(300)
        assert caller.versions == {1: 300}


def test_header_chooses_v2(pair: Versions, tmp_path: Path) -> None:
    with called(pair, tmp_path) as (_, caller):
        caller.many(300, [("version", "v2")])
        assert caller.versions == {2: 300}
        caller.many(100, [("version", "v9")])  # no such rule: the weights decide
        assert caller.versions[1] > 0


def test_header_does_nothing_without_its_rule(pair: Versions, tmp_path: Path) -> None:
    no_rule = component(tmp_path / "c", "VirtualService", "tf-serving", operation("remove", "/spec/http/0"))
    with called(pair, tmp_path, no_rule) as (_, caller):
        caller.many(300, [("version", "v2")])
        assert caller.versions[1] > 150
