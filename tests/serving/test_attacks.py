"""Clients that mean harm: others are still answered, and memory stays bounded."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

import grpc
import psutil
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving.conftest import Server
from tests.serving.test_grpc import PREDICT

BODY = json.dumps({"instances": [2.0]})


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


def memory() -> int:
    return int(psutil.Process(os.getpid()).memory_info().rss)


def answers(server: Server) -> None:
    """Both protocols still answer."""
    assert server.http("POST", "/v1/models/affine:predict", BODY)[0] == 200
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "affine"
    request.inputs["x"].dtype = types_pb2.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=1)
    with grpc.insecure_channel(
        f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.unary_unary(
            PREDICT, type(request).SerializeToString, predict_pb2.PredictResponse.FromString
        )
        assert list(call(request, timeout=30).outputs["y"].float_val) == [2.0]


def test_readers_that_do_not_read(server: Server, sockets: list[socket.socket]) -> None:
    body = json.dumps({"instances": [0.5] * 100_000}).encode()
    before = memory()
    for _ in range(6):
        one = socket.create_connection(("127.0.0.1", server.rest_port), timeout=30)
        one.sendall(
            b"POST /v1/models/affine:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        sockets.append(one)
    end = time.monotonic() + 60
    while time.monotonic() < end:  # the answers are there, and nobody takes them
        with contextlib.suppress(TimeoutError):
            sockets[-1].settimeout(0.5)
            if sockets[-1].recv(1, socket.MSG_PEEK):
                break
    answers(server)
    assert memory() - before < 600 << 20


def test_claims_of_size_cost_nothing(server: Server) -> None:
    before = memory()
    head = b"POST /v1/models/affine:predict HTTP/1.1\r\nContent-Length: 2147483000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as one:
        one.sendall(head + b"{")
        for dims in ([1 << 31], [1 << 62, 4], [-1], [1 << 33, 0, 1 << 33]):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "affine"
            request.inputs["x"].dtype = types_pb2.DT_FLOAT
            for size in dims:
                request.inputs["x"].tensor_shape.dim.add(size=size)
            with pytest.raises(grpc.RpcError) as raised:
                server.call(PREDICT, request, predict_pb2.PredictResponse)
            assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert memory() - before < 300 << 20
    answers(server)


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "/etc/passwd", "a\x00b", "affine/1", "%2e%2e", "a" * 100_000, "\u202e"]
)
def test_names_are_never_paths(server: Server, name: str) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    with pytest.raises(grpc.RpcError) as raised:
        server.call(PREDICT, request, predict_pb2.PredictResponse)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert len(raised.value.details()) < 1100
