"""TF Lite models in a version's folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import lite
from serving.batching import BatchedModel
from serving.batching_config import BatchingOptions
from serving.config import ModelConfig
from serving.errors import Code, ServingError
from serving.metrics import BatchMetrics, Metrics
from serving.servable import State
from tests.serving import models
from tests.serving.test_grpc import failure, predict, request
from tests.serving.test_models import states, until

HALF = np.array([2.0, 3.0], np.float32)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path: version 1 with a TF Lite model only, 2 with SignatureDefs in the file, 3 with a SavedModel only."""
    base = tmp_path_factory.mktemp("lite")
    models.lite_half_plus_two(base / "1")
    models.lite_half_plus_two(base / "2", signature="named")
    models.half_plus(base / "3")
    return base


def load(base: Path, version: int) -> lite.LiteModel:
    return lite.load(str(base / str(version)), 2)


def test_a_signature_from_the_tensors_names(base: Path) -> None:
    model = load(base, 1)
    assert list(model.signatures) == ["serving_default"]
    signature = model.signatures["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs["x"].tensor_shape.dim[0].size == 1
    assert model.run("serving_default", {"x": HALF})["y"].tolist() == [3.0, 3.5]
    assert model.run("serving_default", {"x": HALF[:1]})["y"].tolist() == [3.0]  # resized back


def test_signatures_in_the_file(base: Path) -> None:
    model = load(base, 2)
    assert list(model.signatures) == ["named"]
    assert model.run("named", {"x": HALF}, ["y"])["y"].tolist() == [3.0, 3.5]


def test_strings(tmp_path: Path) -> None:
    model = lite.load(str(models.lite_strings(tmp_path / "1")), 1)
    (alias,) = model.signatures["serving_default"].inputs
    rows = np.array([b"\x00\xff", b"b"], object)
    (found,) = model.run("serving_default", {alias: rows}).values()
    assert found.tolist() == [b"\x00\xff", b"\x00\xff"]


@pytest.mark.parametrize(
    ("array", "code", "text"),
    [
        (np.ones(2, np.int32), Code.INVALID_ARGUMENT, "to be float but int32 is provided"),
        (np.ones((2, 3, 4, 5, 6, 7, 8, 9), np.float32), Code.INTERNAL, "Failed to "),
    ],
)
def test_inputs_that_do_not_fit(base: Path, array: Any, code: Code, text: str) -> None:
    model = load(base, 1)
    with pytest.raises(ServingError) as caught:
        model.run("serving_default", {"x": array})
    assert caught.value.code == code
    assert text in caught.value.message
    assert model.run("serving_default", {"x": HALF})["y"].tolist() == [3.0, 3.5]  # and goes on


@pytest.mark.parametrize(
    ("content", "text"), [(b"", "Cannot build"), (b"x" * 100, "Cannot build FlatBufferModel from buffer.")]
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / lite.FILE).write_bytes(content)
    with pytest.raises(ServingError) as caught:
        lite.load(str(tmp_path), 1)
    assert text in caught.value.message


def test_bad_signatures_in_the_file(tmp_path: Path) -> None:
    models.lite_half_plus_two(tmp_path, signature="s", tensors=("nothing:0", "y"))
    with pytest.raises(ServingError) as caught:
        lite.load(str(tmp_path), 1)
    assert caught.value.code == Code.INTERNAL
    assert caught.value.message == (
        "Unknown tensor 'nothing:0'.\n\tSignature input x references an unknown tensor"
    )
    models.lite_half_plus_two(tmp_path, metadata=b"\xff\x01\x02")
    with pytest.raises(ServingError, match="Invalid SignatureDefs found in TfLite model: ") as caught:
        lite.load(str(tmp_path), 1)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_model_that_reads_files_cannot_run(tmp_path: Path) -> None:
    """Ops of TensorFlow itself (Flex) are not linked, in TF Serving as here."""
    model = lite.load(str(models.lite_reads_file(tmp_path / "1")), 1)
    (alias,) = model.signatures["serving_default"].inputs
    with pytest.raises(ServingError) as caught:
        model.run("serving_default", {alias: np.array(b"/etc/hostname", object)})
    assert caught.value.code == Code.INTERNAL
    assert "Failed to allocate tensors" in caught.value.message


def test_calls_at_once_get_their_own_answers(base: Path) -> None:
    model, wrong = load(base, 1), []

    def caller(start: int) -> None:
        for value in range(start, start + 50):
            x = np.full(1 + value % 3, value, np.float32)
            if model.run("serving_default", {"x": x}, timeout_s=20)["y"].tolist() != (x / 2 + 2).tolist():
                wrong.append(value)

    threads = [threading.Thread(target=caller, args=(100 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_waiting_for_an_interpreter_ends_at_the_deadline(base: Path) -> None:
    model = lite.load(str(base / "1"), 1)
    held = model._free.get()
    with pytest.raises(ServingError) as caught:
        model.run("serving_default", {"x": HALF}, timeout_s=0.05)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    model._free.put(held)
    model.warm("serving_default", {"x": HALF})


def test_batched(base: Path) -> None:
    model = BatchedModel(
        load(base, 1), BatchingOptions(allowed_batch_sizes=(4, 1000)), BatchMetrics(Metrics().registry)
    )
    assert model.run("serving_default", {"x": HALF})["y"].tolist() == [3.0, 3.5]


def test_served_only_when_preferred(start: Any, base: Path) -> None:
    flags = ["--prefer_tflite_model", "--saved_model_tags=none", "--max_num_load_retries=0"]
    server = start(f"--model_config_file={_config(base)}", *flags)
    for version, name in ((1, ""), (2, "named")):
        message = request("m", name, x=HALF)
        message.model_spec.version.value = version
        assert list(predict(server, message).outputs["y"].float_val) == [3.0, 3.5]
    server.manager.configure([ModelConfig("m", str(base), policy="all")])
    until(lambda: states(server.manager).get(3) == State.END)
    message = request("m", "", x=HALF)
    message.model_spec.version.value = 3  # has no model.tflite, and no graph with these tags
    assert failure(server, message) == ("NOT_FOUND", "Servable not found for request: Specific(m, 3)")


def _config(base: Path) -> Path:
    path = base.parent / "lite.config"
    path.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{base}" model_platform: "tensorflow"'
        " model_version_policy { specific { versions: [1, 2] } } } }"
    )
    return path
