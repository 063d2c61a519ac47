"""A source that goes away: what its camera says of it, to whom, and that it can be told to try again now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from client import DetectionStream, Frame, StreamConfig
from client.relayed import DETECT
from client.sources import LiveSource, SourceError, SourceOptions
from client.sources import live as live_module
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, response_of
from tests.client.media import Device
from tests.client.running import streaming, wait_for

CONFIG = StreamConfig(max_age_s=0)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def relay() -> Iterator[RelayThread]:
    with FakeModelServer(respond=lambda _: response_of(1)) as server:
        with RelayThread(server.target) as running:
            yield running
        running.assert_balanced()


@contextmanager
def watching(device: Device, relay: RelayThread) -> Iterator[tuple[LiveSource, DetectionStream]]:
    """A stream of this camera, whose results are taken."""
    source = LiveSource("door", "door", device.open, SourceOptions(patient=True), "hint")  # type: ignore[arg-type]
    with streaming(source, relay.target, CONFIG) as stream:
        try:
            yield source, stream
        finally:
            device.holds.set()
    assert stream.account.balanced


def told(relay: RelayThread) -> str:
    """What the relay shows of the camera's state."""
    views = relay.relay._board.views
    return views["door"].state(time.monotonic()) if "door" in views else ""


def test_a_camera_that_is_off_at_the_start_says_so_and_retry_now_opens_it(
    device: Device, relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT_S", 30.0)
    device.on = False
    with watching(device, relay) as (source, stream):
        wait_for(lambda: told(relay) == "backing off")
        assert source.state == "backing off"
        (shown,) = relay.relay._board.summary()["cameras"]
        assert 10 < shown["retry_s"] <= 30
        device.on = True
        time.sleep(0.1)
        assert device.opened == 1  # it waits
        ask(relay)
        assert wait_for(lambda: told(relay) == "streaming") < 2
        assert stream.account.delivered >= 0
        assert source.state == "streaming"
        wait_for(lambda: stream.account.delivered > 3)


def test_a_camera_that_stays_off_tells_each_next_attempt(
    device: Device, relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT_S", 0.4)
    monkeypatch.setattr(live_module, "LONGEST_WAIT_S", 0.8)
    device.on = False
    told_s = set[float]()

    def several() -> bool:
        if "door" in relay.relay._board.views:
            told_s.add(relay.relay._board.views["door"]._source.retry_at_s)
        return len(told_s) > 4

    with watching(device, relay):
        wait_for(several)
        assert told(relay) == "backing off"


def ask(relay: RelayThread) -> None:
    """As the page's button does, on the relay's event loop."""
    relay.relay._service.predictor._loop.call_soon_threadsafe(relay.relay._board.views["door"].retry)


def test_a_camera_that_goes_away_and_comes_back_with_another_size(
    device: Device, relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT_S", 30.0)
    with watching(device, relay) as (source, stream):
        wait_for(lambda: stream.account.delivered > 3)
        device.on = False
        wait_for(lambda: told(relay) == "backing off")
        device.on, device.size_wh = True, (200, 100)
        source.retry_now()
        before = stream.account.delivered
        wait_for(lambda: stream.account.delivered > before + 3)
        assert told(relay) == "streaming"
        assert source.reconnects == 1
        assert stream.account.errored == 0


def test_a_camera_that_gives_no_frames_is_stalled_until_it_does(
    device: Device, relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "STALLED_S", 0.3)
    with watching(device, relay) as (source, stream):
        wait_for(lambda: stream.account.delivered > 3)
        device.holds.clear()
        wait_for(lambda: source.state == "stalled")
        wait_for(lambda: told(relay) == "stalled")
        device.holds.set()
        wait_for(lambda: source.state == "streaming")
        wait_for(lambda: told(relay) == "streaming")


def test_a_source_that_fails_tells_the_relay_why(relay: RelayThread) -> None:
    class Breaking(NumberSource):
        def frames(self) -> Iterator[Frame]:
            yield from NumberSource(3, camera_id="door").frames()
            raise SourceError("the disk is gone")

    stream = DetectionStream(Breaking(None, camera_id="door"), relay.target, CONFIG)
    with pytest.raises(SourceError):
        list(stream)
    relay.wait_idle()
    (shown,) = relay.relay._board.summary()["cameras"]
    assert (shown["state"], shown["problem"], shown["streams"]) == ("failed", "the disk is gone", 0)


def test_retry_now_ends_the_pause_before_the_next_attempt_to_connect() -> None:
    with FakeModelServer() as server, RelayThread(server.target) as relay:
        config = StreamConfig(max_age_s=0, backoff_min_s=30, backoff_max_s=30)
        source = NumberSource(None, live=True, interval_s=0.01)
        with streaming(source, relay.target, config) as stream:
            wait_for(lambda: stream.account.delivered > 0)
            relay.stop()
            wait_for(lambda: not stream.connected)
            relay.start()
            time.sleep(0.2)
            assert not stream.connected
            stream.retry_now()
            wait_for(lambda: stream.connected)


@pytest.mark.parametrize(
    "frame",
    [
        pb.Frame(camera_id="door", source=pb.Source(state="on fire")),
        pb.Frame(camera_id="", source=pb.Source(state="failed")),
        pb.Frame(camera_id="x" * 257, source=pb.Source(state="failed")),
        pb.Frame(source=pb.Source(state="failed", problem="y" * 100_000)),
    ],
)
def test_a_report_that_makes_no_sense_is_ignored(relay: RelayThread, frame: pb.Frame) -> None:
    good = pb.Frame(camera_id="door", image=b"\xff\xd8 " + bytes(20), wait=True)
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        messages = iter([good.SerializeToString(), frame.SerializeToString(), good.SerializeToString()])
        results = list(call(messages, timeout=5))
    assert [result.WhichOneof("outcome") for result in results] == ["delivered", "delivered"]
    assert told(relay) == "ended"


def test_what_a_camera_says_of_itself_is_cut_short(relay: RelayThread) -> None:
    report = pb.Frame(camera_id="door", source=pb.Source(state="failed", problem="y" * 100_000))
    with grpc.insecure_channel(relay.target) as channel:
        list(channel.stream_stream(DETECT)(iter([report.SerializeToString()]), timeout=5))
    (shown,) = relay.relay._board.summary()["cameras"]
    assert shown["problem"] == "y" * 300
