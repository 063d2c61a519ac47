"""The callers that cost next to nothing speak with gRPC's own server, in clear and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from client import bare, http2
from client.bare import Stream, Unary
from client.http2_client import Connection
from client.security import Security
from client.wire import relay_pb2 as pb
from tests.client.certificates import self_signed

TOKEN = "t" * 300  # longer than one byte of HPACK can tell


class Relay(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Delivers each frame with its size as the model's version; ends the stream at an empty one."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.metadata = dict(details.invocation_metadata)
        if details.method.endswith("Echo"):
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        return grpc.stream_stream_rpc_method_handler(
            self.detect, pb.Frame.FromString, pb.Result.SerializeToString
        )

    @staticmethod
    def detect(frames: Iterator[pb.Frame], context: grpc.ServicerContext) -> Iterator[pb.Result]:
        for frame in frames:
            if not frame.image:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "empty")
            result = pb.Result(frame_id=frame.frame_id)
            result.delivered.model_version = len(frame.image)
            yield result


@contextmanager
def server(certificate: Path | None = None) -> Iterator[tuple[str, Relay]]:
    relay, serves = Relay(), grpc.server(ThreadPoolExecutor(4))
    serves.add_generic_rpc_handlers((relay,))
    if certificate is None:
        port = serves.add_insecure_port("localhost:0")
    else:
        pair = (certificate.with_name("key.pem").read_bytes(), certificate.read_bytes())
        port = serves.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    serves.start()
    try:
        yield f"localhost:{port}", relay
    finally:
        serves.stop(0)


def test_frames_of_all_sizes_go_and_results_come() -> None:
    with server() as (target, _), Stream(target, "camera", Security()) as camera:
        for size in (1, 100_000, 3_000_000, 5):  # larger than a frame, and than a window
            assert camera.detect(b"x" * size).delivered.model_version == size
        with pytest.raises(RuntimeError, match="ended the stream"):
            camera.detect(b"")


def test_a_stream_is_opened_anew_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a relay ends one whose pings nobody answers."""
    with server() as (target, relay), Stream(target, "camera", Security()) as camera:
        assert camera.detect(b"x").frame_id == 1
        relay.metadata = {"of": "the first call"}
        assert camera.detect(b"x").frame_id == 2
        assert relay.metadata == {"of": "the first call"}
        monkeypatch.setattr(bare, "_PAUSE_S", 0.0)
        assert camera.detect(b"x").frame_id == 3
        assert relay.metadata == {}


def test_over_tls_with_a_token(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with server(certificate) as (target, relay):
        with Stream(target, "camera", Security(certificate, lambda camera: TOKEN)) as camera:
            assert camera.detect(b"x" * 200_000).delivered.model_version == 200_000
            assert relay.metadata["authorization"] == f"Bearer {TOKEN}"
        (tmp_path / "other").mkdir()
        with pytest.raises(OSError, match="certificate verify failed"):
            Stream(target, "camera", Security(self_signed(tmp_path / "other")))


def test_answers_larger_than_a_frame_come_whole() -> None:
    with server() as (target, _), Unary(target, "/any.Service/Echo") as caller:
        for size in (1, 20_000, 2_000_000):
            assert caller.call(http2.message(b"y" * size)) == b"y" * size


def test_an_error_is_told() -> None:
    with (
        server() as (target, _),
        Unary(target, "/any.Service/Any") as caller,
        pytest.raises(RuntimeError, match="with an error"),
    ):
        caller.call(http2.message(pb.Frame().SerializeToString()))


def test_messages_in_pieces_and_together() -> None:
    connection = Connection("localhost:1", "/any.Service/Any", "http")
    stream = connection.open()
    data = b"".join(
        http2.frame(http2.DATA, 0, stream, part)
        for part in (http2.message(b"one") + http2.message(b"two")[:3], http2.message(b"two")[3:])
    )
    found = [event for at in range(len(data)) for event in connection.take_in(data[at : at + 1])]
    assert found == [(http2.DATA, stream, b"one"), (http2.DATA, stream, b"two")]
    with pytest.raises(RuntimeError, match="closes the connection"):
        list(connection.take_in(http2.frame(http2.GOAWAY, 0, 0, bytes(8))))
