"""The detection stream by itself, over a transport in memory."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from client import DetectionStream, Frame, StreamConfig
from client.transport import Answer, Listener, Outgoing, SourceReport
from client.types import Status
from tests.client.fakes import NumberSource


class MemoryTransport:
    """Keeps what was sent; the test answers it. `connections` counts them; `refuse` breaks the first ones."""

    target = "memory"
    remainder_stage = "network"

    def __init__(self, refuse: int = 0) -> None:
        self.connections: list[MemoryConnection] = []
        self._refuse = refuse

    def open(self, listener: Listener) -> MemoryConnection:
        connection = MemoryConnection(listener)
        self.connections.append(connection)
        if len(self.connections) <= self._refuse:
            listener.broken("refused")
        else:
            listener.ready()
        return connection


class MemoryConnection:
    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.sent: list[Outgoing] = []
        self.reports: list[SourceReport] = []
        self.finished = threading.Event()
        self.arrived = threading.Semaphore(0)

    def send(self, frame: Outgoing) -> None:
        self.sent.append(frame)
        self.arrived.release()

    def report(self, camera_id: str, report: SourceReport) -> None:
        self.reports.append(report)

    def finish(self) -> None:
        self.finished.set()

    def close(self) -> None:
        self.finished.set()

    def wait_sent(self, count: int) -> list[Outgoing]:
        """The next `count` frames that are sent."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=30)
        return self.sent[-count:]


def done(*_: object) -> Answer:
    return Answer(Status.DROPPED, reason="done")


def wait_for_connection(transport: MemoryTransport, number: int = 1) -> MemoryConnection:
    wait_until(lambda: len(transport.connections) >= number)
    return transport.connections[number - 1]


def wait_until(happened: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.002)


def test_answers_out_of_order_come_out_in_order_and_only_once() -> None:
    transport = MemoryTransport()
    stream = DetectionStream(NumberSource(3), transport, StreamConfig(max_age_s=0, window=3))
    connection = wait_for_connection(transport)
    for frame in reversed(connection.wait_sent(3)):
        connection.listener.answered(frame.seq, done())
        connection.listener.answered(frame.seq, Answer.errored("INTERNAL", "a second answer"))
    connection.listener.answered(99, done())
    assert [(result.frame.frame_id, result.reason) for result in stream] == [(n, "done") for n in range(3)]
    assert stream.account.balanced


@pytest.mark.parametrize("window", [1, 2, 5])
def test_never_more_frames_out_than_the_window(window: int) -> None:
    transport = MemoryTransport()
    with DetectionStream(
        NumberSource(10), transport, StreamConfig(max_age_s=0, window=window, drain_s=0.1)
    ) as stream:
        connection = wait_for_connection(transport)
        connection.wait_sent(window)
        time.sleep(0.02)
        assert len(connection.sent) == window
        connection.listener.answered(
            0, done()
        )  # an answer that the caller has not taken still holds its place
        time.sleep(0.02)
        assert len(connection.sent) == window
        next(stream)
        connection.wait_sent(1)


def test_no_window_no_queue_newest_frame_wins() -> None:
    transport, first_is_out = MemoryTransport(), threading.Event()

    class Source(NumberSource):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                yield frame
                assert first_is_out.wait(30)

    stream = DetectionStream(Source(50, live=True), transport, StreamConfig(max_age_s=0, window=1))
    connection = wait_for_connection(transport)
    connection.wait_sent(1)
    first_is_out.set()
    wait_until(lambda: stream.account.captured == 50)
    connection.listener.answered(0, done())
    assert next(stream).frame.frame_id == 0
    assert connection.wait_sent(1)[0].frame_id == 49
    connection.listener.answered(49, done())
    rest = list(stream)
    assert [result.reason for result in rest] == ["source_overrun"] * 48 + ["done"]
    assert all(result.frame.jpeg is None for result in rest[:-1])  # pictures of the dropped are let go
    assert stream.account.balanced


def test_connects_again_and_ignores_what_an_old_connection_says() -> None:
    transport = MemoryTransport(refuse=2)
    config = StreamConfig(max_age_s=0, window=1, backoff_min_s=0.01, backoff_max_s=0.02)
    stream = DetectionStream(NumberSource(2), transport, config)
    first = wait_for_connection(transport, 3)
    first.wait_sent(1)
    first.listener.broken("gone")
    first.listener.answered(0, done())
    assert next(stream).reason == "disconnected"
    second = wait_for_connection(transport, 4)
    second.wait_sent(1)
    first.listener.answered(1, Answer.errored("INTERNAL", "too late"))
    second.listener.answered(1, done())
    assert [result.reason for result in stream] == ["done"]
    assert stream.account.balanced


def test_a_frame_that_is_too_old_is_neither_encoded_nor_sent() -> None:
    class Old(NumberSource):
        def frames(self) -> Iterator[Frame]:
            picture = np.zeros((0, 0, 3), np.uint8)  # would be an error if it were encoded
            yield Frame("camera", 0, time.monotonic() - 1, time.time_ns(), image_bgr=picture)

    transport = MemoryTransport()
    (result,) = DetectionStream(Old(None), transport, StreamConfig(max_age_s=0.5))
    assert result.reason == "expired"
    assert transport.connections[0].sent == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "the frame cannot be decoded: it came without a picture or an encoded file"),
        (np.zeros((0, 0, 3), np.uint8), r"cannot encode uint8 \(0, 0, 3\) as JPEG"),
        (np.zeros((4, 4, 7), np.uint8), r"cannot encode uint8 \(4, 4, 7\) as JPEG"),
    ],
)
def test_a_picture_that_cannot_be_encoded_is_that_frames_error(
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None, message: str
) -> None:
    class Bad(NumberSource):
        def frames(self) -> Iterator[Frame]:
            yield Frame("camera", 0, time.monotonic(), time.time_ns(), image_bgr=image)

    (result,) = DetectionStream(Bad(None), MemoryTransport(), StreamConfig(max_age_s=0))
    assert result.error is not None
    assert re.search(message, result.error)


def test_a_source_without_frames_ends_the_stream() -> None:
    stream = DetectionStream(NumberSource(0), MemoryTransport())
    assert list(stream) == []
    assert list(stream) == []
    assert stream.account.captured == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), r"frames\(\): expected a client.Frame, got a ndarray"),
        (Frame("camera", -1, 1.0, 0), "frame_id: expected a whole number of 64 bits, 0 or more, got -1"),
        (Frame("camera", 1, 1.0, 1.5), "captured_unix_ns: expected a whole number"),  # type: ignore[arg-type]
        (
            Frame("camera", 1, 1e9, 0),
            "captured_s: expected time.monotonic.. of its capture, got 1000000000.0",
        ),
        (Frame("camera", 1, float("nan"), 0), "captured_s: expected .* got nan"),
        (Frame("camera", 1, float("-inf"), 0), "captured_s: expected .* got -inf"),
        (Frame("camera", 1, -1e308, 0), "captured_s: expected .* got -1e.308"),
        (Frame("camera", 1, "now", 0), "captured_s: expected .* got 'now'"),  # type: ignore[arg-type]
        (Frame("camera", True, 1.0, 0), "frame_id: expected a whole number .* got True"),
        (Frame(0, 1, 1.0, 0), 'camera_id: expected a text such as "door", got 0'),  # type: ignore[arg-type]
        (Frame("a\ud800", 1, 1.0, 0), r"camera_id: expected a text that is UTF-8, got 'a\\ud800'"),
        (Frame("camera", 1, 1.0, 0, [[0]]), "image_bgr: expected a uint8 array .* got a list"),  # type: ignore[arg-type]
        (
            Frame("camera", 1, 1.0, 0, np.zeros((2, 2, 3))),  # type: ignore[arg-type]
            r"image_bgr: expected a uint8 array \[H, W, 3\] or None, got float64 \(2, 2, 3\)",
        ),
        (Frame("camera", 1, 1.0, 0, np.zeros(9, np.uint8)), r"image_bgr: .* got uint8 \(9,\)"),
        (Frame("camera", 1, 1.0, 0, jpeg=bytearray(9)), "jpeg: expected bytes or None, got a bytearray"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_gives_no_frame_that_can_be_sent_is_told(given: Frame, message: str) -> None:
    class Odd(NumberSource):
        def frames(self) -> Iterator[Frame]:
            yield given

    stream = DetectionStream(Odd(0), MemoryTransport(), StreamConfig(drain_s=0.1))
    with pytest.raises((TypeError, ValueError), match=message), stream:
        list(stream)
    assert stream.account.balanced


def test_a_text_is_no_source() -> None:
    with pytest.raises(TypeError, match=r"expected a Source, got a text; client.open_source makes one of it"):
        DetectionStream("clip.mp4", MemoryTransport())  # type: ignore[arg-type]


def test_a_source_that_cannot_be_closed_ends_the_stream_all_the_same() -> None:
    class Jammed(NumberSource):
        def close(self) -> None:
            raise OSError("jammed")

    stream = DetectionStream(Jammed(0), MemoryTransport())
    with pytest.raises(OSError, match="jammed"):
        list(stream)


def test_a_caller_who_never_reads_holds_the_source() -> None:
    config = StreamConfig(max_age_s=0, drain_s=0.1)
    stream = DetectionStream(NumberSource(None, live=True), MemoryTransport(), config)
    wait_until(lambda: stream.account.captured > 1000)
    time.sleep(0.3)
    assert stream.account.captured <= 1100
    stream.close()
    assert stream.account.balanced


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_age_s", -1),
        ("jpeg_quality", 0),
        ("jpeg_quality", 101),
        ("window", 0),
        ("connect_timeout_s", 0),
        ("connect_timeout_s", float("nan")),
    ],
)
def test_bad_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected .* got {value}"):
        StreamConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("jpeg_quality", 50.5, "expected a whole number, got 50.5"),
        ("window", 2.0, "expected a whole number, got 2"),
        ("max_age_s", None, "expected float, got None"),
        ("jpeg_quality", "85", "expected int, got '85'"),
    ],
)
def test_settings_of_a_wrong_kind_are_named(name: str, value: object, said: str) -> None:
    with pytest.raises(TypeError, match=f"{name}: {said}"):
        StreamConfig(**{name: value})  # type: ignore[arg-type]
