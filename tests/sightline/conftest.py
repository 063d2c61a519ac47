"""One model server and two relays for all tests of the stack."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sightline import cli
from tests.conftest import COCO_WEIGHTS_VARIABLE
from tests.sightline.stack import Done, Running, can_listen, free_ports, wait_ready

Spawn = Callable[..., Running]
Main = Callable[..., Done]


class ModelServer:
    """`sightline serve` in a process, which may be killed and started again on its port.

    It serves `yolov8` (the demo weights) and, where there are COCO weights, `coco`.
    """

    def __init__(self, config: Path) -> None:
        (self.port,) = free_ports(1)
        self._config = config
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.running = Running(
            (
                "serve", f"--port={self.port}", "--rest_api_port=0", f"--model_config_file={self._config}",
                "--enable_grpc_healthcheck_service",
            ),
            self._config.parent,
        )  # fmt: skip
        wait_ready(self.port, self.running)


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    """The model server that the tests share."""
    models = {"yolov8": demo_model}
    if Path(os.environ.get(COCO_WEIGHTS_VARIABLE, "")).is_file():
        models["coco"] = request.getfixturevalue("coco_model")
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for name, base in models.items()
    )
    config = tmp_path_factory.mktemp("server") / "models.config"
    config.write_text(f"model_config_list {{\n{entries}}}")
    server = ModelServer(config)
    yield server
    server.running.kill()


def start_relay(
    spawn: Callable[..., Running], target: str, port: int, *options: str, ready: bool = True
) -> Running:
    """`sightline relay` that is ready, or that listens at least: without a model it never says that it serves."""
    relay = spawn("relay", "--listen", f"127.0.0.1:{port}", "--target", target, "--http-port", "0", *options)
    if ready:
        wait_ready(port, relay)
    else:
        relay.until(lambda: not can_listen(port))
    return relay


@pytest.fixture(scope="session")
def relay(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Target of a relay to the demo model."""
    yield from _session_relay(server, tmp_path_factory)


@pytest.fixture(scope="session")
def coco_relay(
    server: ModelServer, coco_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Target of a relay to the COCO model."""
    yield from _session_relay(server, tmp_path_factory, "--model-name", "coco")


def _session_relay(
    server: ModelServer, tmp_path_factory: pytest.TempPathFactory, *options: str
) -> Iterator[str]:
    (port,) = free_ports(1)
    running = start_relay(
        lambda *arguments: Running(arguments, tmp_path_factory.mktemp("relay")), server.target, port, *options
    )
    yield f"127.0.0.1:{port}"
    running.kill()


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Main]:
    """Run `sightline ARGUMENTS` in this process: the same without Python's start, for what ends at once.

    What libraries in C write meanwhile, on threads of other tests' channels and servers, is not the command's."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["sightline", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        started_s = time.monotonic()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr(), time.monotonic() - started_s)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start `sightline ARGUMENTS`, each in a folder of its own below tmp_path; ended after the test."""
    started: list[Running] = []

    def spawner(*arguments: str | Path) -> Running:
        started.append(Running(arguments, tmp_path / f"process-{len(started)}"))
        return started[-1]

    yield spawner
    for running in started:
        running.kill()
