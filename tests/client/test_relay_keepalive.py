"""Cameras that vanish without a word: the relay finds it out by itself, while nothing comes from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from client.relay import main
from client.relayed import DETECT
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, RelayThread, image_of
from tests.client.proxy import Proxy

FASTER = 15  # than in earnest: 15 s would be long for a test
TIMES = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")


@pytest.fixture
def within_s(monkeypatch: pytest.MonkeyPatch) -> float:
    """Relays look after their cameras in a hurry; how long it may take them."""
    options = [(name, value // FASTER if name in TIMES else value) for name, value in main.SERVER_OPTIONS]
    monkeypatch.setattr(main, "SERVER_OPTIONS", options)
    return sum(dict(options)[name] for name in TIMES[:2]) / 1e3


class Vanishing:
    """A camera with `fps`; 0: it sends one frame and is silent."""

    def __init__(self, channel: grpc.Channel, camera_id: str, fps: float) -> None:
        self._camera_id, self._fps = camera_id, fps
        self._over = threading.Event()
        self._call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)(self._frames())
        assert next(self._call).HasField("delivered")

    def _frames(self) -> Iterator[bytes]:
        number = 0
        while not self._over.is_set():
            number += 1
            frame = pb.Frame(
                camera_id=self._camera_id, frame_id=number, image=image_of(number), max_age_ms=500
            )
            yield frame.SerializeToString()
            self._over.wait(1 / self._fps if self._fps else 20)

    def end(self) -> None:
        self._over.set()
        self._call.cancel()


def test_cameras_in_a_black_hole_are_given_up_while_it_lasts(within_s: float) -> None:
    """What lies between goes on acknowledging what is sent, so only unanswered pings tell."""
    with (
        FakeModelServer() as server,
        RelayThread(server.target) as relay,
        Proxy(relay.target) as proxy,
        grpc.insecure_channel(proxy.target, [("grpc.use_local_subchannel_pool", 1)]) as one,
        grpc.insecure_channel(proxy.target, [("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        cameras = [Vanishing(one, "silent", 0), Vanishing(other, "streaming", 30)]
        time.sleep(2 * within_s)
        assert relay.count("sightline_relay_streams") == 2  # they answer, so they stay
        proxy.black_hole()
        since_s = time.monotonic()
        while relay.count("sightline_relay_streams"):
            assert time.monotonic() < since_s + 2 * within_s + 1
            time.sleep(0.01)
        for camera in cameras:
            camera.end()
    relay.assert_balanced()
