"""A plain client of a server process: the published stubs, and HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

TIMEOUT_S = 30.0
READY_S = 120.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    """A PredictRequest; inputs are arrays or lists of floats or bytes."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        array = (
            value
            if isinstance(value, np.ndarray)
            else np.array(value, object if _bytes(value) else np.float32)
        )
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def _bytes(value: Any) -> bool:
    return bool(value) and isinstance(value[0], bytes)


@dataclass
class Client:
    """One server."""

    port: int
    rest_port: int
    process: subprocess.Popen[bytes]
    log: Path

    def channel(self) -> Any:
        """A new channel to the server."""
        return grpc.insecure_channel(f"localhost:{self.port}", [("grpc.max_receive_message_length", -1)])

    def call(self, method: str, request: Any, timeout: float = TIMEOUT_S, **more: Any) -> Any:
        """PredictionService or ModelService by method name."""
        with self.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            if not hasattr(stub, method):
                stub = model_service_pb2_grpc.ModelServiceStub(channel)
            return getattr(stub, method)(request, timeout, **more)

    def error(self, method: str, request: Any, timeout: float = TIMEOUT_S) -> tuple[str, str]:
        """Code and text of a call that must fail."""
        try:
            self.call(method, request, timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"{method} did not fail")

    def floats(self, request: Any, output: str = "y") -> list[float]:
        """The values of a Predict answer's output."""
        return list(self.call("Predict", request).outputs[output].float_val)

    def http(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and body of one HTTP request; a body that is no bytes is sent as JSON."""
        response, text = self.exchange(method, path, body, headers)
        return response.status, text

    def exchange(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, str]:
        """The answer to one HTTP request, with its headers, and its body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("localhost", self.rest_port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response, response.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Wait until the server answers, by whatever error, as TF Serving's own tests do."""
        end = time.monotonic() + READY_S
        request = predict_request("intentionally_missing_model")
        while time.monotonic() < end:
            assert self.process.poll() is None, f"the server ended: {self.log.read_text(errors='replace')}"
            try:
                self.call("Predict", request, 1)
            except grpc.RpcError as error:
                if "Servable" in (error.details() or ""):
                    return
            time.sleep(0.1)
        raise AssertionError(f"the server does not answer: {self.log.read_text(errors='replace')}")
