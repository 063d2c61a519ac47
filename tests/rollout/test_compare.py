"""The comparison of two models' detections, and the statistics over many."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from hypothesis import given
from hypothesis import strategies as st

from client.relay.shadow_compare import Difference, compare, size_of
from client.relay.shadow_statistics import mean_interval, share_interval
from client.wire import relay_pb2 as pb

HERE, BESIDE, FAR = (0.1, 0.1, 0.3, 0.3), (0.12, 0.1, 0.32, 0.3), (0.6, 0.6, 0.9, 0.9)
Row = tuple[tuple[float, float, float, float], float, str]


def found(*rows: Row) -> pb.Detections:
    return pb.Detections(
        boxes=[value for box, _, _ in rows for value in box],
        scores=[score for _, score, _ in rows],
        class_ids=[0] * len(rows),
        labels=[label for _, _, label in rows],
    )


def difference(stable: list[Row], candidate: list[Row]) -> Difference:
    return compare(found(*stable), found(*candidate), set())


@pytest.mark.parametrize(
    ("stable", "candidate", "same", "flips", "missed", "extra"),
    [
        ([], [], 0, 0, 0, 0),
        ([(HERE, 0.9, "car")], [], 0, 0, 1, 0),
        ([], [(HERE, 0.9, "car")], 0, 0, 0, 1),
        ([(HERE, 0.9, "car")], [(BESIDE, 0.8, "car")], 1, 0, 0, 0),
        ([(HERE, 0.9, "car")], [(BESIDE, 0.8, "bus")], 0, 1, 0, 0),
        ([(HERE, 0.9, "car")], [(FAR, 0.9, "car")], 0, 0, 1, 1),
        ([(HERE, 0.3, "car")], [], 0, 0, 0, 0),  # neither is sure
        ([(HERE, 0.3, "car")], [(HERE, 0.5, "car")], 1, 0, 0, 0),  # one is
        ([(HERE, 0.3, "car")], [(HERE, 0.3, "bus")], 0, 0, 0, 0),
        # Two objects of two classes in one place: a pair of one class goes before a closer one of two.
        ([(HERE, 0.9, "car"), (BESIDE, 0.8, "bus")], [(HERE, 0.9, "bus"), (BESIDE, 0.8, "car")], 2, 0, 0, 0),
        # Each object has one partner, however many lie there.
        ([(HERE, 0.9, "car")], [(HERE, 0.9, "car"), (BESIDE, 0.8, "car")], 1, 0, 0, 1),
        # The assignment is the best one over all: greedy would take the middle one and leave a pair out.
        (
            [((0.10, 0.1, 0.30, 0.3), 0.9, "car"), ((0.16, 0.1, 0.36, 0.3), 0.9, "car")],
            [((0.13, 0.1, 0.33, 0.3), 0.9, "car"), ((0.22, 0.1, 0.42, 0.3), 0.9, "car")],
            2, 0, 0, 0,
        ),
    ],
)  # fmt: skip
def test_partners(
    stable: list[Row], candidate: list[Row], same: int, flips: int, missed: int, extra: int
) -> None:
    what = difference(stable, candidate)
    counts = [counter.total() for counter in (what.same, what.flips, what.missed, what.extra)]
    assert counts == [same, flips, missed, extra]


def test_agreement_is_f1() -> None:
    what = Difference(
        same=Counter(car=8), flips=Counter({("car", "bus"): 1}), missed=Counter({("car", "small"): 1})
    )
    true, missed, made_up = 8, 2, 1  # a flip misses one and makes one up
    assert what.agreement == pytest.approx(2 * true / (2 * true + missed + made_up))
    assert what.sides("bus") == (0, 1)
    assert what.labels == {"car", "bus"}
    assert Difference().agreement == 1.0


def test_boxes_and_scores_are_compared_over_pairs() -> None:
    what = difference([(HERE, 0.9, "car"), (FAR, 0.5, "bus")], [(BESIDE, 0.7, "car"), (FAR, 0.5, "bus")])
    assert what.pairs == 2
    assert what.iou == pytest.approx(0.18 / 0.22 + 1.0, abs=1e-5)
    assert what.drift == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize(
    ("side", "size"),
    [(0.0, "small"), (0.05, "small"), (0.06, "medium"), (0.17, "medium"), (0.18, "large"), (1.0, "large")],
)
def test_sizes_are_cocos(side: float, size: str) -> None:
    assert size_of(np.array([0, 0, side, side], np.float32)) == size


@given(
    st.lists(st.tuples(*[st.floats(width=32)] * 5), max_size=8),
    st.lists(st.tuples(*[st.floats(width=32)] * 5), max_size=8),
)
def test_nonsense_is_counted_and_never_raises(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    rows = [[((y, x, v, w), score, "thing") for y, x, v, w, score in side] for side in (a, b)]
    what = difference(*rows)
    assert 0.0 <= what.agreement <= 1.0
    assert math.isfinite(what.iou)
    assert math.isfinite(what.drift)
    assert what.same.total() <= min(len(a), len(b))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_interval_holds_as_often_as_it_says_where_frames_hang_together(share: float) -> None:
    """Clusters of 20 that succeed or fail together: an interval of 2,000 independent draws would miss the truth."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        hits = np.where(rng.random(100) < share, 20.0, 0.0)
        value, low, high = share_interval(hits, np.full(100, 20.0), 0.95)
        assert low <= value <= high
        held += low <= share <= high
    assert held / 400 > 0.91
    naive = np.sqrt(share * (1 - share) / 2000)
    assert high - low > 4 * naive * 1.96 * 0.3


def test_a_mean_over_clusters_holds_too() -> None:
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        counts = rng.integers(1, 20, 30).astype(float)
        means = rng.normal(0.9, 0.05, 30)  # a scene's own mean
        _, low, high = mean_interval(means * counts, counts, 0.95)
        held += low <= 0.9 <= high
    assert held / 400 > 0.9


def test_nothing_has_no_interval() -> None:
    empty = np.zeros(0)
    assert all(math.isnan(value) for value in share_interval(empty, empty, 0.99))
    assert all(math.isnan(value) for value in mean_interval(np.ones(1), np.ones(1), 0.99))
