"""Results keep to their max age over a slow network, by fewer frames in flight and smaller pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from client import DetectionStream, Result, Status, StreamConfig, open_source
from client.age_control import AgeControl, Rendition, Trip, scale
from client.encode import encode_jpeg
from client.sources import SourceOptions
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, response_of
from tests.client.proxy import Proxy

MAX_AGE_S = 0.5


def trip(seq: int, age_s: float, *, theirs_s: float = 0.03, reason: str = "") -> Trip:
    status = Status.DROPPED if reason else Status.DELIVERED
    return Trip(seq, age_s, own_s=age_s - theirs_s, theirs_s=theirs_s, status=status, reason=reason)


def control(
    *, window: int = 2, fixed: bool = False, adapt: bool = True, max_age_s: float = MAX_AGE_S
) -> AgeControl:
    made = AgeControl(max_age_s, window, fixed=fixed, adapt=adapt)
    made.rendition(85, 1280, 0)  # its frames are pictures
    return made


def test_late_results_cost_frames_in_flight_first_and_then_detail() -> None:
    control_ = control()
    for seq, expected in enumerate([(1, 1.0), (1, 0.7), (1, 0.49)]):
        control_.sent(seq)
        control_.answered(trip(seq, 0.45), 1.0)
        assert (control_.window, round(control_.detail, 2)) == expected
    control_.sent(9)
    control_.answered(trip(9, 4.0), 1.0)
    assert control_.detail == pytest.approx(0.49 * 0.3)  # far too old: a deeper cut
    for seq in range(10, 40):
        control_.sent(seq)
        control_.answered(trip(seq, 4.0), 1.0)
    assert control_.detail == 0.02


def test_frames_sent_before_a_cut_do_not_cause_another() -> None:
    control_ = control(window=8)
    for seq in range(8):
        control_.sent(seq)
    for seq in range(8):
        control_.answered(trip(seq, 0.6), 1.0)
    assert (control_.window, control_.detail) == (4, 1.0)


def test_a_slow_server_costs_nothing_here() -> None:
    control_ = control()
    control_.sent(1)
    control_.answered(trip(1, 0.6, theirs_s=0.5), 1.0)
    control_.answered(trip(1, 0.6, theirs_s=0.5, reason="expired"), 1.0)
    assert (control_.window, control_.detail) == (2, 1.0)


def test_young_results_give_detail_back_and_then_widen_the_window_if_it_holds_frames_back() -> None:
    control_ = control(window=1)
    control_.sent(1)
    control_.answered(trip(1, 0.45), 0.0)
    assert control_.detail == 0.7
    now_s = 0.0
    while control_.detail < 1.0:
        now_s += 0.5
        control_.answered(trip(2, 0.1), now_s)
    assert now_s == pytest.approx(10, abs=1)  # 0.03 a second
    for second in range(5):
        control_.answered(trip(3, 0.1), now_s + 2 * second)
    assert control_.window == 1  # no frame was held back
    for second in range(10, 60, 2):
        control_.held_back()
        control_.answered(trip(4, 0.1), now_s + second)
    assert control_.window == 16
    control_.answered(trip(5, 0.1, reason="mailbox"), now_s)
    assert control_.window == 15
    for _ in range(30):
        control_.answered(trip(5, 0.1, reason="mailbox"), now_s)
    assert control_.window == 2


def test_people_see_what_is_not_as_at_first() -> None:
    control_ = control()
    assert str(control_) == ""
    for seq in range(2):
        control_.sent(seq)
        control_.answered(trip(seq, 0.45), 1.0)
    assert str(control_) == "window 1, detail 70 %"


def test_results_neither_young_nor_late_change_nothing() -> None:
    control_ = control(window=1)
    control_.sent(1)
    control_.answered(trip(1, 0.45), 0.0)
    for second in range(1, 20):
        control_.answered(trip(2, 0.35), float(second))
    assert (control_.window, control_.detail) == (1, 0.7)


@pytest.mark.parametrize(("max_age_s", "fixed", "adapt"), [(0.0, False, True), (MAX_AGE_S, True, False)])
def test_what_is_not_to_change_does_not(max_age_s: float, fixed: bool, adapt: bool) -> None:
    control_ = control(max_age_s=max_age_s, fixed=fixed, adapt=adapt)
    for seq in range(9):
        control_.sent(seq)
        control_.answered(trip(seq, 9.0), float(seq))
        control_.held_back()
        control_.answered(trip(seq, 0.0), seq + 0.5)
    assert (control_.window, control_.detail) == (2, 1.0)


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1280, 720), (640, 360), (200, 300), (1, 1)])
@pytest.mark.parametrize("quality", [95, 85, 30])
def test_less_detail_is_never_more_bytes(size_wh: tuple[int, int], quality: int) -> None:
    picture = np.asarray(np.random.default_rng(1).integers(0, 255, (size_wh[1], size_wh[0], 3)), np.uint8)
    sizes = []
    for detail in (0.8, 0.4, 0.2, 0.1, 0.05, 0.02):
        how = scale(detail, quality, max(size_wh))
        assert 1 <= how.max_side_px <= max(size_wh)
        assert min(40, quality) <= how.quality <= quality
        sizes.append(len(encode_jpeg(picture, how.quality, how.max_side_px)))
    assert sizes == sorted(sizes, reverse=True)


def test_pixels_beyond_what_a_detector_looks_at_go_first() -> None:
    assert scale(0.25, 85, 1280) == Rendition(85, 640)
    assert scale(0.1, 85, 1280) == Rendition(40, 640)
    assert scale(0.02, 85, 1280) == Rendition(40, 320)


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(latency_s=0.02, respond=lambda _: response_of(3)) as fake:
        yield fake


def stream(target: str, *, adapt: bool) -> DetectionStream:
    source = open_source("synthetic:seed=3,fps=10,size=1280x720", SourceOptions())
    return DetectionStream(source, target, StreamConfig(max_age_s=MAX_AGE_S, adapt=adapt))


def delivered(results: Iterator[Result], seconds: float) -> list[float]:
    """The ages of the results of the next seconds."""
    until_s, ages_s = time.monotonic() + seconds, []
    for result in results:
        if result.status is Status.DELIVERED:
            ages_s.append(result.age_s)
        if time.monotonic() > until_s:
            return ages_s
    raise AssertionError("the stream ended")


def test_a_slow_network_is_given_smaller_pictures_until_results_are_young_again(
    server: FakeModelServer,
) -> None:
    """110 KB pictures over 100 KB/s: more than a second each, of which results may be half a second old."""
    with RelayThread(server.target) as relay, Proxy(relay.target, upload_bytes_s=100e3) as proxy:
        with stream(proxy.target, adapt=True) as adapting:
            results = iter(adapting)
            delivered(results, 6.0)
            assert (adapting.control.window, adapting.control.detail < 0.3) == (1, True)
            ages_s = delivered(results, 4.0)
            assert len(ages_s) >= 8
            assert np.percentile(ages_s, 90) <= MAX_AGE_S
            before = adapting.control.detail
            proxy.upload_bytes_s = None
            delivered(results, 3.0)
            assert adapting.control.detail >= before + 0.05
            adapting.stop()
            list(results)
        assert adapting.account.balanced
        relay.wait_idle()
    relay.assert_balanced()


def test_without_adapt_the_pictures_stay_and_fewer_are_in_flight(server: FakeModelServer) -> None:
    with RelayThread(server.target) as relay, Proxy(relay.target, upload_bytes_s=200e3) as proxy:
        with stream(proxy.target, adapt=False) as plain:
            results = iter(plain)
            delivered(results, 4.0)
            assert (plain.control.window, plain.control.detail) == (1, 1.0)
            plain.stop()
            list(results)
        assert plain.account.balanced


def test_a_long_way_is_filled_with_frames(server: FakeModelServer) -> None:
    """0.2 s there and back, a frame each 20 ms: two in flight would be 10 frames a second."""
    server.latency_s = 0.2
    source = NumberSource(None, live=True, interval_s=0.02)
    config = StreamConfig(max_age_s=1.0)
    with (
        RelayThread(server.target, in_flight_per_camera=16) as relay,
        DetectionStream(source, relay.target, config) as long,
    ):
        results = iter(long)
        delivered(results, 5.0)
        assert long.control.window >= 5
        assert len(delivered(results, 1.0)) >= 20
        long.stop()
        list(results)
