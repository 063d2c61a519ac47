"""`sightline up`: the whole stack on this machine, and cameras streamed through it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from client.detect import run as run_detect
from client.detect_config import DetectConfig
from client.report import Summary
from model import contract
from sightline.models import ServedModel, prepare
from sightline.processes import ChildDied, Children
from sightline.ready import wait_serving

READY_TIMEOUT_S = 120.0  # TensorFlow's import, the model's load and warm-up on a slow machine
WATCH_EVERY_S = 0.3


class PortTaken(OSError):
    """A port of the stack is in use; the message names it and the option that changes it."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the stack; each field is the option of that name."""

    port: int = 8500
    rest_api_port: int = 8501
    relay_port: int = 8600
    http_port: int = 8601

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if not 1 <= number <= 65535:
                raise ValueError(f"--{name.replace('_', '-')}: expected 1 to 65535, got {number}")

    def check_free(self) -> None:
        """Raise PortTaken for the first that cannot be listened on, ValueError for two that are the same."""
        taken: dict[int, str] = {}
        for name, number in vars(self).items():
            option = "--" + name.replace("_", "-")
            if number in taken:
                raise ValueError(f"{option} and {taken[number]} are both {number}: give each its own")
            taken[number] = option
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", number))
                except OSError as error:
                    raise PortTaken(
                        f"port {number}: {error.strerror}; choose another with {option}"
                    ) from None


@dataclass(frozen=True)
class UpConfig:
    """What `sightline up` takes: the model, the ports, and what to stream (`detect`; its relay is set here).

    `models`: folder of exported models. `runs`: folder of logs.
    """

    detect: DetectConfig
    weights: str | None = None
    imgsz: tuple[int, int] = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)
    precision: str = "auto"
    ports: Ports = Ports()
    models: Path = Path("runs/models")
    runs: Path = Path("runs/up")


def up(config: UpConfig, console: Console) -> int:
    """Run the stack until its cameras end, Ctrl-C, or the death of a part. Returns the exit status: 0 only if
    detections were delivered and the frames add up.

    Raises PortTaken, ChildDied, TimeoutError, WeightsError, RuntimeError: each says what to do.
    """

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    config.ports.check_free()
    model = prepare(config.models / contract.MODEL_NAME, config.weights, config.imgsz, config.precision, say)
    with Children(config.runs / "logs") as children:
        started_s = time.monotonic()
        _start(children, config.ports, model)
        say(f"model     {model.text}")
        say(f"stack     relay 127.0.0.1:{config.ports.relay_port}, model server 127.0.0.1:{config.ports.port}, "
            f"REST http://127.0.0.1:{config.ports.rest_api_port}")
        wait_serving(f"127.0.0.1:{config.ports.relay_port}", READY_TIMEOUT_S, children.check)
        say(f"ready     in {time.monotonic() - started_s:.1f} s; logs in {children.log_folder}")
        say(f"live      http://127.0.0.1:{config.ports.http_port}/ (Ctrl-C stops)")
        summary = _stream(config, children, console)
        children.check()
    return 0 if summary.exit_code == 0 and summary.tally.detections > 0 else 1


def _start(children: Children, ports: Ports, model: ServedModel) -> None:
    python = [sys.executable, "-m"]
    children.start("server", [
        *python, "sightline", "serve", f"--port={ports.port}", f"--rest_api_port={ports.rest_api_port}",
        f"--model_name={contract.MODEL_NAME}", f"--model_base_path={model.base.resolve()}",
        "--enable_grpc_healthcheck_service=true",
    ])  # fmt: skip
    children.start("relay", [
        *python, "sightline", "relay", "--listen", f"127.0.0.1:{ports.relay_port}",
        "--target", f"127.0.0.1:{ports.port}", "--http-port", str(ports.http_port),
    ])  # fmt: skip


def _stream(config: UpConfig, children: Children, console: Console) -> Summary:
    """Stream the cameras; a part's death stops them, and their summary still comes."""
    detect = replace(
        config.detect, relay=f"127.0.0.1:{config.ports.relay_port}", wait_s=30.0
    )
    stop = threading.Event()
    with _watching(children, stop):
        return run_detect(detect, console, stop)


@contextmanager
def _watching(children: Children, stop: threading.Event) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_EVERY_S):
            try:
                children.check()
            except ChildDied:
                stop.set()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
