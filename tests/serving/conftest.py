"""Models, a server in this process, and ways to call it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving import build, flags, ports
from serving.metrics import Metrics
from serving.models import ModelManager
from tests.serving import models


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths: affine (version 1), strings, counter, tf1 (folder 00000123)."""
    folder = tmp_path_factory.mktemp("models")
    models.affine(folder / "affine" / "1")
    models.strings(folder / "strings" / "1")
    models.counter(folder / "counter" / "1")
    models.tensorflow_1(folder / "tf1" / "00000123")
    return folder


@dataclass
class Server:
    """A server in this process."""

    port: int
    rest_port: int
    manager: ModelManager
    metrics: Metrics
    channel: Any

    def call(self, method: str, request: Any, response: Any, timeout: float = 20) -> Any:
        """A unary gRPC call by full method name."""
        serialize = None if isinstance(request, bytes) else type(request).SerializeToString
        call = self.channel.unary_unary(method, serialize, response.FromString)
        return call(request, timeout=timeout)

    def http(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """One HTTP request: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def error(self, method: str, path: str, body: bytes | str | None = None) -> tuple[int, str]:
        """Status and error text of a REST request that fails."""
        status, text = self.http(method, path, body)
        return status, json.loads(text)["error"]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server from flags; ports are added."""
    stops: list[Callable[[], None]] = []
    folder = tmp_path_factory.mktemp("config")
    (folder / "monitoring").write_text("prometheus_config { enable: true }")

    def starter(*arguments: str) -> Server:
        port, rest_port = free_port(), free_port()
        options = flags.parse(
            [
                f"--port={port}",
                f"--rest_api_port={rest_port}",
                f"--monitoring_config_file={folder / 'monitoring'}",
                "--load_retry_interval_micros=1000",
                *arguments,
            ]
        )
        manager, predictor, metrics = build.engine(options)
        grpc_server = build.grpc_server(options, predictor, metrics)
        rest = build.rest_server(options, predictor, metrics, build.metrics_path(options))
        manager.configure(build.model_configs(options))
        grpc_server.start()
        assert rest is not None
        rest.start(ports.bind("127.0.0.1", rest_port, "rest_api_port"))
        channel = grpc.insecure_channel(
            f"127.0.0.1:{port}",
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )

        def stop() -> None:
            channel.close()
            rest.begin_stop(1)
            grpc_server.stop(1)
            rest.join(5)
            manager.stop()

        stops.append(stop)
        return Server(port, rest_port, manager, metrics, channel)

    yield starter
    threads = [threading.Thread(target=stop) for stop in stops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="session")
def server(start: Callable[..., Server], model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """One server with all the models of `model_dir`, labels and health included."""
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{model_dir / name}" model_platform: "tensorflow" {more} }}\n'
        for name, more in {
            "affine": 'version_labels { key: "stable" value: 1 }',
            "strings": "",
            "counter": "",
            "tf1": "",
        }.items()
    )
    config = tmp_path_factory.mktemp("models_config") / "models.config"
    config.write_text(f"model_config_list {{\n{entries}}}")
    return start(
        f"--model_config_file={config}",
        "--enable_grpc_healthcheck_service",
        "--allow_version_labels_for_unavailable_models",
    )
