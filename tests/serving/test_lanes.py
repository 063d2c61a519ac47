from __future__ import annotations

import threading
import time

import pytest

from serving.errors import Code, ServingError
from serving.lanes import Lanes


def test_a_call_that_is_alone_is_wide_and_company_is_narrow() -> None:
    lanes = Lanes(cores=2)
    with lanes.enter(None) as first:
        assert first == "wide"
        with lanes.enter(None) as second:
            assert second == "narrow"
    with lanes.enter(None) as third:
        assert third == "wide"


def test_at_most_as_many_run_as_there_are_cores_in_order_of_arrival() -> None:
    lanes = Lanes(cores=2)
    running, most, order = 0, 0, []
    lock = threading.Lock()

    def call(number: int) -> None:
        nonlocal running, most
        with lanes.enter(None):
            with lock:
                running += 1
                most = max(most, running)
                order.append(number)
            time.sleep(0.02)
            with lock:
                running -= 1

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=call, args=(number,)))
        threads[-1].start()
        time.sleep(0.002)  # so that the order of arrival is known
    for thread in threads:
        thread.join()
    assert most == 2
    assert order == sorted(order)


def test_waiting_ends_at_the_deadline_and_frees_the_place() -> None:
    lanes = Lanes(cores=1)
    with lanes.enter(None):
        with pytest.raises(ServingError) as caught, lanes.enter(time.monotonic() + 0.02):
            pass
        assert caught.value.code == Code.DEADLINE_EXCEEDED
    with lanes.enter(time.monotonic() + 0.02) as lane:
        assert lane == "wide"


def test_a_call_that_fails_leaves() -> None:
    lanes = Lanes(cores=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), lanes.enter(time.monotonic() + 1):
            raise ValueError("x")
