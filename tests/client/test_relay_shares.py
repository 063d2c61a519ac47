"""Places for streams, and what the streams of one camera id share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import grpc
import pytest

from client import DetectionStream, StreamConfig
from client.relay import shares
from client.relay.shares import MAX_STREAMS_PER_CAMERA, Share, Streams
from client.relayed import DETECT
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, image_of
from tests.client.proxy import Proxy
from tests.client.running import wait_for

SILENT_S = 0.3


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as fake:
        yield fake


def frame(number: int, camera_id: str = "c") -> bytes:
    message = pb.Frame(camera_id=camera_id, frame_id=number, image=image_of(number), wait=True)
    return bytes(message.SerializeToString())


class Held:
    """A stream that sends `first` and then nothing until it is told to."""

    def __init__(self, channel: grpc.Channel, *first: bytes, subject: str = "") -> None:
        self._first, self._over = first, threading.Event()
        metadata = (("sightline-token-subject", subject),) if subject else ()
        self.call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)(
            self._frames(), metadata=metadata
        )

    def _frames(self) -> Iterator[bytes]:
        yield from self._first
        self._over.wait(20)

    def end(self) -> None:
        self._over.set()
        self.call.cancel()


@contextmanager
def holding(relay: RelayThread) -> Iterator[Callable[..., Held]]:
    """Opens streams that are held until the end."""
    with grpc.insecure_channel(relay.target) as channel, ExitStack() as stack:

        def hold(*first: bytes, subject: str = "") -> Held:
            held = Held(channel, *first, subject=subject)
            stack.callback(held.end)
            return held

        yield hold
    relay.wait_idle()


@pytest.mark.parametrize("subject", ["", "c"], ids=["by its frames", "by its token"])
def test_a_camera_id_has_so_many_streams_and_a_silent_one_yields_to_a_new_one(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """As of a camera whose connection broke, which the relay does not know yet: it gets in again."""
    with RelayThread(server.target) as relay, holding(relay) as hold:
        old = [hold(frame(1), subject=subject) for _ in range(MAX_STREAMS_PER_CAMERA)]
        for held in old:
            assert next(held.call).HasField("delivered")
        refused = hold(frame(1), subject=subject)
        with pytest.raises(grpc.RpcError, match="camera 'c' has 16 streams already") as failed:
            next(refused.call)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert next(hold(frame(1, "other")).call).HasField("delivered")
        monkeypatch.setattr(shares, "SILENT_S", SILENT_S)
        time.sleep(SILENT_S)
        assert next(hold(frame(2), subject=subject).call).HasField("delivered")
        wait_for(lambda: any(held.call.done() for held in old))
        (yielded,) = [held.call for held in old if held.call.done()]
        assert yielded.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this one was silent" in yielded.details()
    relay.assert_balanced()


def test_a_camera_gets_in_again_amid_a_flood_of_silent_streams(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SILENT_S", SILENT_S)
    places, over = 32, threading.Event()
    source = NumberSource(None, live=True, interval_s=0.05, camera_id="neighbour")
    config = StreamConfig(max_age_s=2.0, backoff_min_s=0.02, backoff_max_s=0.2)
    with (
        RelayThread(server.target, max_streams=places) as relay,
        holding(relay) as hold,
        Proxy(relay.target) as proxy,
        ExitStack() as stack,
    ):
        neighbour = stack.enter_context(DetectionStream(source, proxy.target, config))
        taker = threading.Thread(target=list, args=(neighbour,))
        taker.start()
        stack.callback(taker.join)
        stack.callback(neighbour.stop)
        wait_for(lambda: neighbour.account.delivered > 0)

        def flood() -> None:
            while not over.wait(0.02):
                hold()

        flooding = threading.Thread(target=flood)
        flooding.start()
        stack.callback(flooding.join)
        stack.callback(over.set)
        wait_for(lambda: relay.count("sightline_relay_streams") >= places)
        for _ in range(3):
            before = neighbour.account.delivered
            proxy.cut()
            time.sleep(0.2)  # its place is taken by then
            wait_for(lambda before=before: neighbour.account.delivered > before + 5)  # type: ignore[misc]
        assert neighbour.reconnects == 3
    relay.assert_balanced()


def test_streams_of_one_camera_take_turns_with_its_frames_in_flight(server: FakeModelServer) -> None:
    server.latency_s = 0.02
    with RelayThread(server.target, in_flight_per_camera=1) as relay:
        with grpc.insecure_channel(relay.target) as channel:
            detect = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
            calls = [detect(iter([frame(n) for n in range(6)]), timeout=10) for _ in range(3)]
            ends_s: list[float] = []
            for call in calls:
                assert [result.HasField("delivered") for result in call] == [True] * 6
                ends_s.append(time.monotonic())
        assert server.most_busy == 1
        assert ends_s[-1] - ends_s[0] < 0.3  # they ended together, not one after the other
        relay.wait_idle()
    relay.assert_balanced()


def test_who_goes_and_comes_back_has_the_share_that_it_had() -> None:
    """Else a camera that opens a stream for each frame would always be the next."""
    streams = Streams(2)

    def visit(camera_id: str) -> Share:
        camera = mock.Mock(share=None, subject="", camera_id=camera_id)
        streams.open(camera, "", 0.0)
        streams.name(camera, camera_id, 0.0)
        streams.close(camera)
        share: Share = camera.share
        return share

    first = visit("a")
    assert visit("a") is first
    visit("b")
    assert visit("a") is first
    visit("c")
    visit("d")  # of those that left as many are known as may be there
    assert visit("a") is not first
    assert not tuple(streams)
