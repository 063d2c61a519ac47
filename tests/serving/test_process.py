"""The server as its own process: what a supervisor, a shell and Kubernetes see."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tensorflow_serving.apis import predict_pb2

from model.child import bound
from tests.serving.conftest import free_port
from tests.serving.test_grpc import PREDICT, request
from tests.serving.test_models import publish

Process = subprocess.Popen[str]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `python -m serving`, stderr in tmp_path/log."""
    processes: list[Process] = []

    def spawner(*arguments: str, **environment: str) -> Process:
        with (tmp_path / "log").open("w") as log:
            processes.append(
                subprocess.Popen(
                    bound([sys.executable, "-m", "serving", *arguments]),
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **environment},
                )
            )
        return processes[-1]

    yield spawner
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready_channel(port: int, process: Process, timeout_s: float = 60) -> Any:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)])
    end = time.monotonic() + timeout_s
    future = grpc.channel_ready_future(channel)
    while True:
        try:
            future.result(timeout=0.2)
            return channel
        except grpc.FutureTimeoutError:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < end, "the server did not listen in time"


def predict(channel: Any, message: Any, timeout: float = 20) -> Any:
    call = channel.unary_unary(
        PREDICT, predict_pb2.PredictRequest.SerializeToString, predict_pb2.PredictResponse.FromString
    )
    return call(message, timeout=timeout)


def test_life_of_a_server(spawn: Any, model_dir: Path, tmp_path: Path) -> None:
    """Ports open only with a model; hot load; SIGTERM finishes the call in flight and takes no new one."""
    base, port = tmp_path / "base", free_port()
    base.mkdir()
    process = spawn(f"--port={port}", "--model_name=m", f"--model_base_path={base}", "--port_typo=1")
    log = tmp_path / "log"
    end = time.monotonic() + 60
    while "No versions of servable m found under base path" not in log.read_text():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    publish(model_dir / "strings" / "1", base / "1")
    channel = ready_channel(port, process)

    answers: list[Any] = []
    slow = threading.Thread(
        target=lambda: answers.append(predict(channel, request("m", "slow", seconds=np.float64(1.5))))
    )
    slow.start()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(grpc.RpcError):
        predict(channel, request("m", "slow", seconds=np.float64(0)), timeout=0.5)
    slow.join()
    stopped = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - stopped < 2
    assert len(answers) == 1  # the call in flight was answered
    channel.close()
    assert process.stdout.read().startswith("unknown argument: --port_typo=1\nusage: ")


def test_a_taken_port_is_one_line_that_names_it(spawn: Any, model_dir: Path) -> None:
    for flag, other in (("port", "rest_api_port"), ("rest_api_port", "port")):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            process = spawn(
                f"--{flag}={port}", f"--{other}={free_port()}", f"--model_base_path={model_dir / 'affine'}"
            )
            output, _ = process.communicate(timeout=30)
        assert process.returncode == 255
        assert output == (
            f"Failed to start server. Error: UNAVAILABLE: port {port} on 127.0.0.1 is not free "
            f"(Address already in use); choose another with --{flag}\n"
        )


def test_ten_thousand_connections(spawn: Any, model_dir: Path) -> None:
    """Half of them REST, half gRPC, every second one in the middle of a request: others are answered."""
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip(f"needs {count + 1000} open files in each process, {hard} are allowed")
    port, rest_port = free_port(), free_port()
    process = spawn(
        f"--port={port}", f"--rest_api_port={rest_port}", f"--model_base_path={model_dir / 'affine'}"
    )
    channel = ready_channel(port, process)
    message = request("default", x=np.array([2], np.float32))
    predict(channel, message)
    memory = psutil.Process(process.pid).memory_info
    before = memory().rss
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for index in range(count):
            one = socket.create_connection(("127.0.0.1", (port, rest_port)[index % 2]), timeout=60)
            stack.enter_context(one)
            if index % 4 == 0:
                one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            elif index % 4 == 1:
                one.sendall(b"POST /v1/models/default:predict HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{")
        assert list(predict(channel, message, timeout=60).outputs["y"].float_val) == [3.0]
        with socket.create_connection(("127.0.0.1", rest_port), timeout=60) as rest:
            rest.sendall(b"GET /v1/models/default HTTP/1.0\r\n\r\n")
            assert rest.recv(64).startswith(b"HTTP/1.1 200 OK")
        assert psutil.Process(process.pid).num_fds() > count
        assert memory().rss - before < 400 << 20  # 40 kB each; measured: 11
    channel.close()


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["--version"], 0, "TensorFlow ModelServer: sightline "),
        (["--port=x"], 255, "usage: sightline serve\nFlags:\n"),
        (
            [],
            255,
            "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
            "server_options.model_config_file are empty!\n",
        ),
        (
            ["--model_config_file=/no/such/file", "--port=0", "--grpc_socket_path=s"],
            255,
            "Failed to start server. Error: NOT_FOUND: ",
        ),
    ],
)
def test_starts_that_end_at_once(spawn: Any, arguments: list[str], code: int, start: str) -> None:
    process = spawn(*arguments)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == code
    assert output.startswith(start)


def test_a_model_that_cannot_load_ends_the_start(spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "base" / "3").mkdir(parents=True)
    process = spawn(
        f"--port={free_port()}", f"--model_base_path={tmp_path / 'base'}", "--max_num_load_retries=0"
    )
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 255
    assert output.startswith(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: default version: 3} due to error: NOT_FOUND: "
    )


def test_sigterm_while_waiting_for_a_model(spawn: Any, tmp_path: Path) -> None:
    process = spawn(f"--port={free_port()}", f"--model_base_path={tmp_path}")
    log = tmp_path / "log"
    end = time.monotonic() + 60
    while "No versions of servable" not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_real_server_on_path_replaces_this_process(spawn: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    real = folder / "tensorflow_model_server"
    real.write_text(f"#!{shutil.which('sh')}\necho pid=$$ args=$@\nexit 7\n")
    real.chmod(real.stat().st_mode | stat.S_IXUSR)
    process = spawn("--port=1", "--host=0.0.0.0", "--model_name=m", PATH=f"{folder}:{os.environ['PATH']}")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 7
    assert output == f"pid={process.pid} args=--port=1 --model_name=m\n"


def test_a_script_of_the_real_servers_name_may_start_this_one(spawn: Any, tmp_path: Path) -> None:
    script = tmp_path / "tensorflow_model_server"
    script.write_text(f'#!{shutil.which("sh")}\nexec {sys.executable} -m serving "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    process = spawn("--version", PATH=f"{tmp_path}:{os.environ['PATH']}")
    output, _ = process.communicate(timeout=20)
    assert output.startswith("TensorFlow ModelServer: sightline ")
