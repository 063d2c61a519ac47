"""The relay as its wire sees it: limits, garbage, health, reflection, metrics, ports."""

from __future__ import annotations

import asyncio
import platform
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from client.relay import RelayConfig, main
from client.relay.health import LIVENESS
from client.relay.service import _read_frames
from client.relayed import DETECT
from client.wire import relay_pb2 as pb
from client.wire import tfserving_pb2 as tfs
from tests.client.fakes import FakeModelServer, RelayThread, image_of

Call = Callable[[Iterable[bytes]], list[pb.Result]]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as fake:
        yield fake


@pytest.fixture(scope="module")
def relay(server: FakeModelServer) -> Iterator[RelayThread]:
    with RelayThread(server.target, http_port=0) as running:
        yield running
    running.assert_balanced()


@pytest.fixture(scope="module")
def detect(relay: RelayThread) -> Iterator[Call]:
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        yield lambda frames: list(call(iter(frames), timeout=20))


def frame(number: int = 1, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "camera_id": "c",
        "frame_id": number,
        "image": image_of(number),
        "wait": True,
    }
    return bytes(pb.Frame(**(fields | changes)).SerializeToString())  # type: ignore[arg-type]


def outcome(result: pb.Result) -> str:
    return str(result.WhichOneof("outcome"))


def test_extreme_numbers_come_back(detect: Call) -> None:
    (result,) = detect([frame(1, frame_id=2**64 - 1, capture_time_unix_ns=2**64 - 1)])
    assert result.frame_id == result.capture_time_unix_ns == 2**64 - 1
    assert outcome(result) == "delivered"
    (result,) = detect([frame(max_age_ms=2**32 - 1, age_us=2**32 - 1)])
    assert outcome(result) == "delivered"
    (result,) = detect([frame(max_age_ms=1, age_us=2**32 - 1)])
    assert result.dropped.reason == "expired"


@pytest.mark.parametrize(
    ("camera_id", "message"),
    [
        ("", "expected 1 to 256 bytes, got 0"),
        ("é" * 129, "got 258"),
        ("other", "this stream is 'c', got 'other'"),
    ],
)
def test_a_wrong_camera_id_is_that_frames_error(detect: Call, camera_id: str, message: str) -> None:
    results = detect([frame(1), frame(2, camera_id=camera_id), frame(3)])
    assert [outcome(result) for result in results] == ["delivered", "error", "delivered"]
    assert results[1].error.code == 3
    assert message in results[1].error.message


def test_a_token_allows_its_own_camera_only(relay: RelayThread) -> None:
    """The gateway says whose token it is; a frame of another camera is that frame's error."""
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        metadata = (("sightline-token-subject", "c"),)
        frames = [frame(1), frame(2, camera_id="other"), frame(3)]
        own, other, again = list(call(iter(frames), timeout=20, metadata=metadata))
        (foreign,) = list(call(iter([frame(1, camera_id="d")]), timeout=20, metadata=metadata))
    assert (outcome(own), outcome(again)) == ("delivered", "delivered")
    for refused in (other, foreign):
        assert refused.error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
        assert "the token is for 'c'" in refused.error.message


def test_bytes_that_are_no_frame_end_the_stream_after_the_results(relay: RelayThread) -> None:
    with grpc.insecure_channel(relay.target) as channel:
        call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        results = call(iter([frame(1), b"\xff\xff\xff", frame(2)]), timeout=10)
        assert outcome(next(results)) == "delivered"
        with pytest.raises(grpc.RpcError, match=r"expected a sightline.v1.Frame, got 3 bytes") as failed:
            next(results)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_beyond_the_limit_ends_only_its_stream(relay: RelayThread, detect: Call) -> None:
    with grpc.insecure_channel(relay.target) as channel:
        results = channel.stream_stream(DETECT)(iter([frame(image=b"\0" * 17_000_000)]), timeout=10)
        with pytest.raises(grpc.RpcError):
            next(results)
    assert outcome(detect([frame(1)])[0]) == "delivered"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            pb.Frame,
            camera_id=st.text(max_size=8),
            frame_id=st.integers(0, 2**64 - 1),
            capture_time_unix_ns=st.integers(0, 2**64 - 1),
            age_us=st.integers(0, 2**32 - 1),
            max_age_ms=st.sampled_from([0, 0, 1, 1000, 2**32 - 1]),
            image=st.binary(max_size=64) | st.integers(0, 99).map(image_of),
            wait=st.booleans(),
        ),
        max_size=12,
    )
)
def test_any_frames_get_one_result_each_in_order(detect: Call, frames: list[pb.Frame]) -> None:
    results = detect([frame.SerializeToString() for frame in frames])
    assert [r.frame_id for r in results] == [frame.frame_id for frame in frames]
    assert all(result.WhichOneof("outcome") for result in results)


def test_a_camera_that_goes_away_is_accounted_for(server: FakeModelServer) -> None:
    server.latency_s = 0.3
    try:
        with RelayThread(server.target) as relay:
            with grpc.insecure_channel(relay.target) as channel:
                held = threading.Event()

                def frames() -> Iterator[bytes]:
                    yield from (frame(n, wait=False) for n in range(5))
                    held.wait(5)

                call = channel.stream_stream(DETECT)(frames())
                until = time.monotonic() + 5
                while relay.count("sightline_relay_frames_received_total") < 5:
                    assert time.monotonic() < until
                    time.sleep(0.01)
                call.cancel()
                held.set()
            relay.wait_idle()
            assert relay.count("sightline_relay_frames_total", reason="disconnected") == 5
        relay.assert_balanced()
    finally:
        server.latency_s = 0.0


def test_a_camera_that_reads_no_results_holds_only_itself(server: FakeModelServer) -> None:
    """The relay stops reading from it when `max_unsent` results wait."""
    server.latency_s = 0.5
    try:
        with (
            RelayThread(server.target, max_unsent=10) as relay,
            grpc.insecure_channel(relay.target) as channel,
        ):
            call = channel.stream_stream(DETECT)(iter([frame(n, wait=False) for n in range(200)]))
            time.sleep(0.2)
            assert relay.count("sightline_relay_frames_received_total") == 10
            server.latency_s = 0.0
            assert len(list(call)) == 200
            relay.wait_idle()
        relay.assert_balanced()
    finally:
        server.latency_s = 0.0


def test_more_streams_than_allowed_are_refused(server: FakeModelServer) -> None:
    with RelayThread(server.target, max_streams=1) as relay, grpc.insecure_channel(relay.target) as channel:
        end = threading.Event()
        first = channel.stream_stream(DETECT)(iter(lambda: end.wait(10) and None, None))
        first.initial_metadata()
        with pytest.raises(grpc.RpcError, match="holds 1 streams already") as failed:
            list(channel.stream_stream(DETECT)(iter([])))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        end.set()
        list(first)


def health(target: str, service: str = "") -> int:
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status)


def test_health_says_whether_the_model_is_available() -> None:
    serving, not_serving = 1, 2
    with FakeModelServer(available=False) as server, RelayThread(server.target) as relay:
        for available, expected in ((False, not_serving), (True, serving), (False, not_serving)):
            server.available = available
            time.sleep(0.2)
            assert health(relay.target) == expected
            assert health(relay.target, "sightline.v1.Relay") == expected
            assert health(relay.target, LIVENESS) == serving
        server.busy_status = True
        time.sleep(0.2)
        assert health(relay.target) == not_serving  # as before
        server.available, server.busy_status = True, False
        time.sleep(0.2)
        server.busy_status = True
        time.sleep(0.2)
        assert health(relay.target) == serving  # a server too busy to say so is still there
        server.kill()
        time.sleep(0.3)
        assert health(relay.target) == not_serving
    with FakeModelServer(model_name="other") as server, RelayThread(server.target) as relay:
        time.sleep(0.2)
        assert health(relay.target) == not_serving


class OddServer(FakeModelServer):
    """Answers GetModelStatus with `status`, if it is set."""

    status = b""

    def _status(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        return self.status or super()._status(data, context)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (b"\xff\xff\xff", "its answer to GetModelStatus makes no sense"),
        (
            tfs.GetModelStatusResponse(
                model_version_status=[tfs.ModelVersionStatus(version=1, state=99)]  # type: ignore[arg-type]
            ).SerializeToString(),
            "no version of model 'yolov8' is available (state 99)",
        ),
    ],
    ids=["garbage", "unknown state"],
)
def test_a_status_that_makes_no_sense_is_not_serving_until_it_does(status: bytes, problem: str) -> None:
    serving, not_serving = 1, 2
    with OddServer() as server:
        with RelayThread(server.target) as relay:
            for answer, expected in (
                (b"", serving),
                (status, not_serving),
                (b"", serving),
                (status, not_serving),
            ):
                server.status = answer
                time.sleep(0.2)
                assert health(relay.target) == expected
            assert problem in relay.relay._board.problem
        relay.assert_balanced()


def test_a_watch_that_died_does_not_keep_the_relay_from_draining(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(main, "watch_model", die)
    server.latency_s = 0.4
    try:
        with RelayThread(server.target) as relay, grpc.insecure_channel(relay.target) as channel:
            held = threading.Event()

            def frames() -> Iterator[bytes]:
                yield frame(1)
                held.wait(5)

            call = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)(frames())
            while not relay.count("sightline_relay_predicts_in_flight"):
                time.sleep(0.01)
            relay.stop()
            assert outcome(next(call)) == "delivered"
            with pytest.raises(grpc.RpcError, match="shutting down"):
                next(call)
            held.set()
        relay.assert_balanced()
    finally:
        server.latency_s = 0.0


def test_reflection_lists_the_service(relay: RelayThread) -> None:
    with grpc.insecure_channel(relay.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert "sightline.v1.Relay" in [service.name for service in answer.list_services_response.service]


def test_metrics_name_no_camera(relay: RelayThread, detect: Call) -> None:
    names = [f"hall{random.randrange(10**9)}" for _ in range(3)]
    for name in names:
        detect([frame(1, camera_id=name), frame(2, camera_id="x" + name)])
    page = urllib.request.urlopen(f"http://127.0.0.1:{relay.relay.http_port}/metrics").read().decode()
    assert 'sightline_relay_frames_total{outcome="delivered",reason=""}' in page
    assert 'sightline_relay_frames_total{outcome="errored",reason="INVALID_ARGUMENT"}' in page
    assert not any(name in page for name in names)


def test_ages_are_of_live_frames_from_their_capture(relay: RelayThread, detect: Call) -> None:
    def counted(suffix: str, **labels: str) -> float:
        return relay.count(f"sightline_relay_result_age_seconds_{suffix}", **labels)

    count, below = counted("count"), counted("bucket", le="2.0")
    detect([frame(1, wait=False, age_us=2_500_000), frame(2, wait=True, age_us=2_500_000)])
    assert counted("count") == count + 1
    assert counted("bucket", le="2.0") == below


@pytest.mark.parametrize("option", ["listen", "http_port"])
def test_a_taken_port_is_one_line_that_names_the_option(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listen, metrics = (f"127.0.0.1:{port}", None) if option == "listen" else ("127.0.0.1:0", port)
        code = (
            "import sys; from client.relay import RelayConfig, run;"
            f"sys.exit(run(RelayConfig(listen={listen!r}, http_port={metrics!r})))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert f"--{option.replace('_', '-')}" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "nonsense"}, "--target: expected host:port, got 'nonsense'"),
        ({"listen": ":99"}, "--listen: expected host:port"),
        ({"listen": "h:70000"}, "--listen: expected host:port"),
        ({"in_flight": 0}, "--in-flight: expected more than 0, got 0"),
        ({"http_port": 70000}, "--http-port: expected 0 to 65535"),
    ],
)
def test_bad_options_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelayConfig(**changes)  # type: ignore[arg-type]


def test_import_client_is_quick_and_needs_no_tensorflow() -> None:
    code = (
        "import time; s = time.perf_counter(); import client; t = time.perf_counter() - s\n"
        "import sys; client.DetectionStream, client.RelayTransport, client.DirectTransport; import client.relay\n"
        "heavy = {'tensorflow', 'torch', 'cv2', 'tensorflow_serving'} & set(sys.modules)\n"
        "assert t < 0.5 and not heavy, (t, heavy)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


_FAULTS_OF_FRAMES = """
import resource, sys
from client.relay.main import _keep_freed_memory
if sys.argv[1] == "keep":
    _keep_freed_memory()
for frame in range(120):
    if frame == 20:
        began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [bytes(100_000) for _ in range(60)]  # of ten frames of 100 KB: more than the imports left free
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_freed_memory_is_kept_for_the_next_frame() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", _FAULTS_OF_FRAMES, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    kept, given_back = faults("keep"), faults("leave")
    assert kept < 100 < given_back, f"page faults of 1000 frames: {kept}, without it {given_back}"


def test_no_message_is_held_while_the_next_one_is_waited_for() -> None:
    """With 1,000 cameras that would be 1,000 pictures, twice."""
    message = frame(1)

    class Context:
        reads, held = 0, 0

        async def read(self) -> object:
            self.reads += 1
            if self.reads == 1:
                return message
            self.held = sys.getrefcount(message)
            return grpc.aio.EOF

    before = sys.getrefcount(message)
    context, camera = Context(), mock.Mock(room=mock.AsyncMock())
    assert asyncio.run(_read_frames(context, camera)) is None
    camera.offer.assert_called_once_with(pb.Frame.FromString(message))
    camera.end.assert_called_once_with()
    assert context.held == before


def test_a_busy_server_is_asked_again(server: FakeModelServer, detect: Call) -> None:
    """TF Serving refuses a call above its --grpc_max_threads: other clients' calls, so this frame's turn comes."""
    server.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")

    def free() -> None:
        server.error = None

    timer = threading.Timer(0.2, free)
    timer.start()
    try:
        (waited,) = detect([frame()])
        assert outcome(waited) == "delivered"
        assert waited.timings.predict_us >= 150_000
        server.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        (late,) = detect([frame(max_age_ms=100)])
        assert late.dropped.reason == "expired"
        server.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "another limit")
        (refused,) = detect([frame()])
        assert refused.error.message == "another limit"
    finally:
        timer.join()
        server.error = None
