from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.errors import Code, ServingError
from serving.lanes import Lane, Lanes


@contextmanager
def place(lanes: Lanes, deadline: float | None = None) -> Iterator[Lane]:
    """A call's place, from its turn to its end."""
    lane = lanes.enter(deadline)
    try:
        yield lane
    finally:
        lanes.leave()


def test_a_call_that_is_alone_is_wide_and_company_is_narrow() -> None:
    lanes = Lanes(places=2)
    with place(lanes) as first:
        assert first == "wide"
        with place(lanes) as second:
            assert second == "narrow"
    with place(lanes) as third:
        assert third == "wide"


def test_at_most_as_many_run_as_there_are_places_in_order_of_arrival() -> None:
    lanes = Lanes(places=2)
    lanes.enter(None)
    lanes.enter(None)
    entered: queue.SimpleQueue[int] = queue.SimpleQueue()

    def call(number: int) -> None:
        lanes.enter(None)
        entered.put(number)

    for number in range(6):
        threading.Thread(target=call, args=(number,), daemon=True).start()
        while len(lanes._waiting) <= number:  # so that the order of arrival is known
            time.sleep(0.001)
    for number in range(6):
        assert entered.empty()
        lanes.leave()
        assert entered.get(timeout=60) == number
    lanes.leave()
    lanes.leave()
    assert lanes.enter(None) == "wide"


def test_waiting_ends_at_the_deadline_and_frees_the_place() -> None:
    lanes = Lanes(places=1)
    with place(lanes):
        with pytest.raises(ServingError) as caught, place(lanes, time.monotonic() + 0.02):
            pass
        assert caught.value.code == Code.DEADLINE_EXCEEDED
    with place(lanes, time.monotonic() + 0.02) as lane:
        assert lane == "wide"


def test_a_call_that_fails_leaves() -> None:
    lanes = Lanes(places=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), place(lanes, time.monotonic() + 1):
            raise ValueError("x")
