"""A network that swallows everything: nobody refuses, and what lies between acknowledges all that is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from client import DirectTransport, Frame, StreamConfig, relayed, sender, stream_state
from client.channel import CHANNEL_OPTIONS
from client.relay import main
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, FakeRelay, NumberSource, RelayThread, done
from tests.client.proxy import Proxy
from tests.client.running import streaming, wait_for

CONFIG = StreamConfig(max_age_s=0.2, backoff_min_s=0.02, backoff_max_s=0.2)
TIMES = {
    "grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms",
    "grpc.http2.min_ping_interval_without_data_ms",
}  # fmt: skip


def faster(options: list[tuple[str, int]], by: int) -> list[tuple[str, int]]:
    """The same channel options with so many times shorter keepalive times."""
    return [(name, value // by if name in TIMES else value) for name, value in options]


class Once(NumberSource):
    """A camera that gives one frame, and no more."""

    def frames(self) -> Iterator[Frame]:
        yield from NumberSource(1).frames()
        self._closed.wait(60)


def test_an_idle_camera_notices_a_black_hole_by_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the real times: 1 s between pings, 0.5 s for their answers, after more pings without data than
    gRPC sends by default."""
    assert (
        dict(CHANNEL_OPTIONS)["grpc.http2.ping_timeout_ms"]
        == dict(CHANNEL_OPTIONS)["grpc.keepalive_timeout_ms"]
    )
    monkeypatch.setattr(relayed, "STREAM_OPTIONS", faster(relayed.STREAM_OPTIONS, 10))
    monkeypatch.setattr(main, "SERVER_OPTIONS", faster(main.SERVER_OPTIONS, 10))
    with FakeModelServer() as server, RelayThread(server.target) as relay:
        with Proxy(relay.target) as proxy, streaming(Once(None, live=True), proxy.target, CONFIG) as stream:
            wait_for(lambda: stream.account.settled == 1 and stream.connected)
            time.sleep(3.5)
            assert (stream.connected, stream.reconnects) == (True, 0)
            proxy.black_hole()
            assert wait_for(lambda: not stream.connected, 3.0) < 2.5
            proxy.black_hole(False)
            wait_for(lambda: stream.connected)
        relay.wait_idle()
    relay.assert_balanced()


def test_a_direct_camera_in_a_black_hole_notices_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its calls expires here after 0.2 s, which is no word from there."""
    monkeypatch.setattr(sender, "SILENCE_S", 1.0)
    source = NumberSource(None, live=True, interval_s=0.3)  # between its frames there is none on its way
    with (
        FakeModelServer() as server,
        Proxy(server.target) as proxy,
        streaming(source, DirectTransport(proxy.target), CONFIG) as stream,
    ):
        wait_for(lambda: stream.account.delivered > 1)
        time.sleep(1.5)
        assert stream.connected
        assert stream.problem == ""
        proxy.black_hole()
        assert wait_for(lambda: not stream.connected, 4.0) < 2.5
        wait_for(lambda: stream.problem.startswith("connection lost: no answer for "))
        proxy.black_hole(False)
        before = stream.account.delivered
        wait_for(lambda: stream.account.delivered > before)


def test_a_relay_that_says_that_it_stops_and_does_not_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_state, "CLOSING_S", 0.1)
    closing = pb.Result(closing=pb.Closing()).SerializeToString()
    with FakeRelay(lambda frame: [*done(frame), closing]) as relay:
        # It keeps the stream open: of each connection one frame, or the two on their way, come back.
        relay.stay = True
        source = NumberSource(None, live=True, interval_s=0.01)
        with streaming(source, relay.target, CONFIG) as stream:
            wait_for(lambda: stream.reconnects >= 2)
