"""Cameras that send what they should not: a clear status each, and the camera beside them streams on undisturbed."""

from __future__ import annotations

import contextlib
import itertools
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import cv2
import grpc
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import DetectionStream, Status, StreamConfig
from client.relayed import DETECT
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, image_of, response_of
from tests.client.media import jpeg, picture

MAX_AGE_S = 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(latency_s=0.002, respond=lambda _: response_of(1)) as fake:
        yield fake


@pytest.fixture(scope="module")
def relay(server: FakeModelServer) -> Iterator[RelayThread]:
    with RelayThread(server.target, max_streams=200) as running:
        yield running
    running.assert_balanced()


class Neighbour:
    """A well-behaved camera, 50 frames a second."""

    def __init__(self, target: str) -> None:
        source = NumberSource(None, live=True, interval_s=0.02, camera_id="neighbour")
        self.stream = DetectionStream(source, target, StreamConfig(max_age_s=MAX_AGE_S))
        self._ages_s: list[float] = []
        self._taker = threading.Thread(target=self._take)
        self._taker.start()

    def _take(self) -> None:
        for result in self.stream:
            if result.status is Status.DELIVERED:
                self._ages_s.append(result.age_s)

    def finish(self) -> None:
        """Stop, and check that nothing happened to it."""
        self.stream.close()
        self._taker.join(10)
        account = self.stream.account
        assert account.balanced
        assert account.errored == 0
        assert self.stream.reconnects == 0
        assert len(self._ages_s) > 5
        assert np.percentile(self._ages_s, 99) < MAX_AGE_S


@pytest.fixture
def neighbour(relay: RelayThread) -> Iterator[Neighbour]:
    beside = Neighbour(relay.target)
    until_s = time.monotonic() + 10
    while beside.stream.account.delivered < 3:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    yield beside
    until_s = time.monotonic() + 10
    before = beside.stream.account.delivered
    while beside.stream.account.delivered < before + 5:  # it still streams
        assert time.monotonic() < until_s
        time.sleep(0.01)
    beside.finish()


def detect(relay: RelayThread, frames: list[bytes]) -> list[pb.Result]:
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        return list(call(iter(frames), timeout=20))


def frame(image: bytes, **fields: object) -> bytes:
    values: dict[str, object] = {"camera_id": "bad", "frame_id": 1, "image": image, "wait": True} | fields
    return bytes(pb.Frame(**values).SerializeToString())  # type: ignore[arg-type]


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims this size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def big_jpeg() -> bytes:
    encoded = cv2.imencode(".jpg", np.zeros((4320, 7680, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return bytes(encoded.tobytes())


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    ("image", "outcome", "text"),
    [
        (b"", "error", "expected a JPEG or PNG file, got nothing"),
        (b"\0" * 5000, "error", "neither JPEG nor PNG"),
        (bytes(range(256)) * 40, "error", "neither JPEG nor PNG"),
        (b"\xff\xd8" + b"\0" * 9_000_000, "error", "the relay takes up to 8388608 (--max-image-bytes)"),
        (
            jpeg(picture(1))[:100],
            "delivered",
            "",
        ),  # a JPEG to the relay, which decodes nothing: the model refuses
        (jpeg(np.zeros((1, 1, 3), np.uint8)), "delivered", ""),
        (big_jpeg(), "delivered", ""),  # 8K: 33 million pixels in some 600 KB
        (png_of(65535, 65535), "error", "neither JPEG nor PNG"),  # the stand-in server takes JPEG only
    ],
    ids=["empty", "zeros", "garbage", "too large", "truncated", "1x1", "8K", "bomb header"],
)
def test_each_bad_picture_is_its_own_frames_end(
    relay: RelayThread, image: bytes, outcome: str, text: str
) -> None:
    good = frame(image_of(1), frame_id=2)
    bad, after = detect(relay, [frame(image), good])
    assert bad.WhichOneof("outcome") == outcome
    assert text in bad.error.message
    assert after.WhichOneof("outcome") == "delivered"


@pytest.mark.usefixtures("neighbour")
def test_wrong_ids_are_told_and_change_nothing(relay: RelayThread) -> None:
    results = detect(
        relay,
        [
            frame(image_of(1)),
            frame(image_of(1), camera_id="neighbour", frame_id=2),
            frame(image_of(1), camera_id="", frame_id=3),
            frame(image_of(1), frame_id=0),  # not above the last one
            frame(image_of(1), frame_id=2**64 - 1),
        ],
    )
    outcomes = [result.WhichOneof("outcome") for result in results]
    assert outcomes == ["delivered", "error", "error", "delivered", "delivered"]
    assert "open one stream per camera" in results[1].error.message


@pytest.mark.alone
@pytest.mark.usefixtures("neighbour")
def test_ten_thousand_frames_a_second_are_mostly_overtaken(relay: RelayThread) -> None:
    count = 10_000
    frames = [frame(image_of(number, 200), frame_id=number, wait=False) for number in range(count)]
    results = detect(relay, frames)
    assert [result.frame_id for result in results] == list(range(count))
    dropped = sum(result.dropped.reason == "mailbox" for result in results)
    delivered = sum(result.HasField("delivered") for result in results)
    assert delivered > 10
    assert dropped + delivered == count


@pytest.mark.usefixtures("neighbour")
def test_a_camera_that_never_reads_is_not_read_any_more(relay: RelayThread) -> None:
    """Its results fill gRPC's window and then `max_unsent`; memory stays where it is."""
    sent = [0]
    memory = psutil.Process().memory_info().rss

    def frames() -> Iterator[bytes]:
        for number in itertools.count():
            sent[0] = number
            yield frame(image_of(number, 20_000), frame_id=number, wait=False)

    # Without the probe gRPC's window for results stays at 64 KB.
    with grpc.insecure_channel(relay.target, [("grpc.http2.bdp_probe", 0)]) as channel:
        call = channel.stream_stream(DETECT)(frames())
        taken, until_s = -1, time.monotonic() + 20
        while sent[0] != taken:  # until it can send no more
            assert time.monotonic() < until_s
            taken = sent[0]
            time.sleep(0.5)
        grown = psutil.Process().memory_info().rss - memory
        call.cancel()
    assert grown < 60e6


@pytest.mark.usefixtures("neighbour")
def test_a_thousand_streams_are_refused_beyond_the_limit(relay: RelayThread) -> None:
    end = threading.Event()
    with grpc.insecure_channel(relay.target) as channel:
        open_stream = channel.stream_stream(DETECT)
        calls = [open_stream(iter(lambda: end.wait(20) and None, None)) for _ in range(1000)]
        until_s = time.monotonic() + 20
        while (refused := sum(call.done() for call in calls)) < 1000 - 199:  # the neighbour has one of 200
            assert time.monotonic() < until_s, refused
            time.sleep(0.05)
        codes = {call.code() for call in calls if call.done()}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert relay.count("sightline_relay_streams") == 200
        end.set()
        for call in calls:
            call.cancel()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=200)
        | st.builds(lambda a, b: a + b, st.just(frame(image_of(3, 40))), st.binary(max_size=20)),
        min_size=1,
        max_size=6,
    )
)
def test_any_bytes_end_a_stream_with_a_status_and_nothing_else(relay: RelayThread, data: list[bytes]) -> None:
    """Each message is a frame with a result, or ends its own stream with INVALID_ARGUMENT; none is forgotten."""
    results: list[pb.Result] = []
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)(
            iter(data), timeout=20
        )
        with contextlib.suppress(grpc.RpcError):
            results.extend(call)
    assert all(result.WhichOneof("outcome") for result in results)
    assert len(results) <= len(data)  # a report of the source gets none
    if call.code() is not grpc.StatusCode.OK:
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "expected a sightline.v1.Frame" in call.details()


def test_the_fuzzed_relay_is_well(relay: RelayThread) -> None:
    relay.wait_idle()
    relay.assert_balanced()
    (result,) = detect(relay, [frame(image_of(1))])
    assert result.HasField("delivered")
