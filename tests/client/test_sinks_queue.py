"""The queue before a sink: what a slow, stuck or broken one costs."""

import os
import threading
import time

import pytest

from client.sinks import JsonLines, QueuedSink, Sink, close_all
from client.types import Result
from tests.client.results import dropped, frame


class Slow(Sink[int]):
    """Writes when it is let to; fails at a chosen frame."""

    name = "slow"

    def __init__(self, fail_at: int = -1) -> None:
        self.let = threading.Event()
        self.written: list[int] = []
        self.closed = 0
        self.fail_at = fail_at

    def prepare(self, result: Result) -> int | None:
        return result.frame.frame_id or None  # frame 0 is none of its

    def put(self, item: int) -> None:
        self.let.wait(20)
        if item == self.fail_at:
            raise OSError(28, "No space left on device")
        self.written.append(item)

    def close(self) -> None:
        self.closed += 1


def test_a_slow_sink_drops_and_counts_and_stalls_nobody() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 4)
    started = time.monotonic()
    for number in range(101):
        queued.write(dropped(frame(number)))
    assert time.monotonic() - started < 1
    slow.let.set()
    queued.close()
    queued.close()
    assert queued.written == len(slow.written) <= 5
    assert queued.written + queued.dropped["queue_full"] == 100
    assert slow.written[:4] == [1, 2, 3, 4]
    assert slow.closed == 1
    assert queued.error is None
    queued.write(dropped(frame(5)))  # too late
    assert queued.dropped["shutdown"] == 1


def test_a_waiting_sink_loses_nothing() -> None:
    slow = Slow()
    threading.Timer(0.2, slow.let.set).start()
    with QueuedSink(slow, 2, wait=True) as queued:
        for number in range(1, 51):
            queued.write(dropped(frame(number)))
    assert slow.written == list(range(1, 51))
    assert (queued.written, queued.dropped.total()) == (50, 0)


def test_a_failing_sink_is_named_and_given_up() -> None:
    slow = Slow(fail_at=3)
    slow.let.set()
    queued = QueuedSink(slow, 100)
    for number in range(1, 11):
        queued.write(dropped(frame(number)))
    queued.close()
    assert queued.error == "slow: No space left on device"
    assert (queued.written, queued.dropped) == (2, {"failed": 8})
    assert slow.closed == 1


def test_a_stuck_sink_is_left_behind_and_closed_when_it_comes_back() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 4)
    queued.write(dropped(frame(1)))
    while queued._items:
        time.sleep(0.001)  # until it writes the first
    for number in range(2, 6):  # the queue is full
        queued.write(dropped(frame(number)))
    started = time.monotonic()
    queued.close(timeout_s=0.3)
    assert time.monotonic() - started < 2
    assert queued.error == "slow: did not finish within 0.3 s"
    assert (queued.written, queued.dropped) == (0, {"shutdown": 5})  # the one that it writes, too
    slow.let.set()
    queued._thread.join(10)
    assert slow.closed == 1
    assert slow.written == [1]
    assert (queued.written, queued.dropped) == (0, {"shutdown": 5})  # it was counted and told
    queued.close()
    assert (slow.closed, queued.dropped.total()) == (1, 5)


def test_a_stuck_sink_takes_no_time_from_the_others() -> None:
    stuck, others = Slow(), [Slow(), Slow()]
    sinks = [QueuedSink(sink, 10) for sink in (stuck, *others)]
    for queued in sinks:
        queued.write(dropped(frame(1)))
    for other in others:
        threading.Timer(0.25, other.let.set).start()
    started = time.monotonic()
    close_all(sinks, timeout_s=1.0)
    assert time.monotonic() - started < 1.5
    assert [queued.error for queued in sinks] == ["slow: did not finish within 1 s", None, None]
    assert [(queued.written, queued.dropped.total()) for queued in sinks] == [(0, 1), (1, 0), (1, 0)]
    assert [other.closed for other in others] == [1, 1]
    stuck.let.set()


def test_a_writer_that_waits_goes_on_when_the_sink_is_given_up() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 1, wait=True)

    def write() -> None:
        for number in range(1, 6):
            queued.write(dropped(frame(number)))

    writer = threading.Thread(target=write)
    writer.start()
    while not queued._items:
        time.sleep(0.001)
    queued.close(timeout_s=0.1)
    writer.join(5)
    assert not writer.is_alive()
    assert queued.written + queued.dropped["shutdown"] + queued.dropped["failed"] == 5
    slow.let.set()


def test_a_full_disk_ends_json_lines_only() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    queued = QueuedSink(JsonLines("/dev/full"), 10)
    queued.write(dropped(frame()))
    queued.close()
    assert queued.error == "/dev/full: No space left on device"
