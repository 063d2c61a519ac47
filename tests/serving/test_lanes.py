from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving import lanes as module
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


def test_a_pause_is_just_after_a_call_and_none_is_waited_for_without_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waited_s() -> float:
        start_s = time.monotonic()
        module.wait_for_a_pause()
        return time.monotonic() - start_s

    monkeypatch.setattr(module, "_last_end_s", time.monotonic() - 2 * module.LATELY_S)
    assert waited_s() < module.PAUSE_S
    monkeypatch.setattr(module, "PAUSE_S", 5.0)
    monkeypatch.setattr(module, "LATELY_S", 20.0)
    calls = Lanes()
    calls.enter(None)
    monkeypatch.setattr(module, "_last_end_s", time.monotonic())
    threading.Timer(0.2, calls.leave).start()
    assert 0.1 < waited_s() < 4.0
    monkeypatch.setattr(module, "PAUSE_S", 0.2)
    assert 0.2 <= waited_s() < 4.0
