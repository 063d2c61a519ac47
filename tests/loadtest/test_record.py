from __future__ import annotations

import json
import math

import msgpack
import numpy as np
import pytest

from loadtest.percentiles import percentile_s
from loadtest.record import DELIVERED, DROPPED, Recorder, Store, fate, split
from tests.loadtest.runs import assert_percentile

AGES = fate("camera", DELIVERED, "v1")


def test_merged_percentiles_are_those_of_all_samples_together() -> None:
    """Three workers, of which one is slow and busy: the mean of their percentiles would be far off."""
    rng, store, everything = np.random.default_rng(3), Store(), []
    for worker, (median_ms, frames) in enumerate([(20, 3000), (30, 1000), (400, 5000)]):
        recorder = Recorder()
        for i, ms in enumerate(rng.lognormal(math.log(median_ms), 0.3, frames)):
            recorder.add(AGES, 1000 + i % 20, ms / 1e3)
            everything.append(ms)
            if i % 700 == 0:  # many fragments for the same slots, packed as Locust packs them
                store.add(msgpack.loads(msgpack.dumps(recorder.flush())), f"worker {worker}")
        store.add(msgpack.loads(msgpack.dumps(recorder.flush())), f"worker {worker}")
    for percent in (50, 90, 99, 99.9):
        assert_percentile(percentile_s(store.values(AGES), percent) * 1e3, everything, percent)
        assert_percentile(percentile_s(store.totals[AGES], percent) * 1e3, everything, percent)


def test_a_store_survives_a_file() -> None:
    recorder, store, again = Recorder(), Store(), Store()
    for second in range(5):
        recorder.offered("camera", second)
        recorder.add(AGES, second, 0.1 * (second + 1))
    recorder.problem("camera: UNAVAILABLE: gone")
    store.add(recorder.flush())
    again.add(json.loads(json.dumps(store.dump())))
    assert again.dump() == store.dump()
    assert again.problems == {"camera: UNAVAILABLE: gone": 1}


def test_a_window_has_the_slots_that_lie_in_it() -> None:
    recorder, store = Recorder(), Store()
    for second in range(10):
        recorder.offered("camera", second)
        recorder.offered("predict", second)
        recorder.add(AGES, second, 0.05)
        recorder.add(fate("predict", DROPPED, "unsent"), second, 0.001)
    store.add(recorder.flush())
    window = store.window(2.5, 6.5)
    assert (window.offered, window.seconds, window.count(DELIVERED), window.count(DROPPED)) == (6, 3, 3, 3)
    assert store.window(2.5, 6.5, "camera").count(DROPPED) == 0
    assert math.isnan(store.window(20, 30).share(DELIVERED))
    assert store.window(20, 30).delivered == {}  # not v1 without values, which no percentile can be told of


@pytest.mark.parametrize("step_s", [1, 5])
def test_bounds_take_whole_slots_only(step_s: int) -> None:
    recorder, store = Recorder(step_s), Store(step_s)
    for second in (100, 101, 107, 130):  # nothing was due between
        recorder.add(AGES, second, 0.05)
    store.add(recorder.flush())
    slots = [second // step_s * step_s for second in (100, 101, 107, 130)]
    for begin_s, end_s in (
        (0, 131),
        (99.5, 106),
        (100, 108),
        (100.5, math.inf),
        (101, 135),
        (107, 107.5),
        (120, 110),
    ):
        inside = sum(begin_s <= slot and slot + step_s <= end_s for slot in slots)
        assert store.values(AGES, begin_s, end_s).total_count == inside, (begin_s, end_s)


def test_what_is_beyond_the_scale_still_counts() -> None:
    recorder, store = Recorder(), Store()
    for seconds in (-1.0, 0.0, 1e9):
        recorder.add(AGES, 0, seconds)
    store.add(recorder.flush())
    assert store.values(AGES).total_count == 3
    assert percentile_s(store.values(AGES), 100) == pytest.approx(600, rel=0.001)


def test_messages_do_not_fill_the_memory() -> None:
    recorder = Recorder()
    for number in range(1000):
        recorder.problem(f"error {number}")
    problems = recorder.flush()["problems"]
    assert len(problems) == 21
    assert problems["other"] == 980


def test_series_come_apart_again() -> None:
    assert split(fate("camera", DROPPED, "mailbox")) == ("camera", DROPPED, "mailbox")
    assert split(fate("rest", DELIVERED)) == ("rest", DELIVERED, "")
    assert split(fate("rest", "errored", "HTTP 500")) == ("rest", "errored", "HTTP 500")


def test_a_stall_counts_as_time() -> None:
    """A closed caller that hung for 5 s of 10 s made half as many calls a second as while it ran."""
    recorder, store = Recorder(), Store()
    for second in (0, 1, 2, 8, 9):
        recorder.offered("predict", 100 + second)
    store.add(recorder.flush())
    assert store.window(100, 110).seconds == 10
    assert store.window(100.5, 109.5).seconds == 8
    assert store.window(0, math.inf).seconds == 10  # without bounds: from the first to the last
    assert list(store.slots(100.5, 104)) == [101, 102, 103]
    assert store.window(200, 210).seconds == 10
    assert Store().window(0, math.inf).seconds == 0


def test_a_rate_below_one_a_second() -> None:
    store, recorder = Store(), Recorder()
    for second in range(0, 60, 2):
        recorder.offered("camera", 100 + second)
    store.add(recorder.flush())
    window = store.window(100, 160)
    assert window.offered / window.seconds == 0.5


def test_a_long_value_stands_for_those_that_it_displaced() -> None:
    recorder, store = Recorder(), Store()
    recorder.add_paced("generator/lag", 100, 1.0, 0.02)
    store.add(recorder.flush())
    values = store.values("generator/lag")
    assert values.total_count == 50
    assert percentile_s(values, 50) == pytest.approx(0.5, abs=0.03)
