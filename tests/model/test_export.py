"""Exporting: what is written, how it appears, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import prediction_log_pb2

from model import contract
from model.contract import ModelMetadata
from model.demo import DEMO_WEIGHTS_SHA256
from model.export import (
    ExportConfig,
    ExportError,
    export,
    next_version,
    read_metadata,
    resolve_precision,
    version_folder,
)
from model.quiet import tf
from model.runner import Runner
from model.street import CLASS_NAMES
from model.street.dataset import validation_set
from model.verify import encode_png
from serving import sessions
from serving.errors import ServingError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 (fp32) and 2 (bf16) of the demo weights, of rectangular input."""
    base = tmp_path_factory.mktemp("export") / "yolov8"
    for precision in ("fp32", "bf16"):
        export(ExportConfig("demo", base, imgsz=(192, 320), precision=precision))
    return base


def test_versions_count_up(base: Path) -> None:
    assert sorted(p.name for p in base.iterdir()) == ["1", "2"]
    assert next_version(base) == 3


@pytest.mark.parametrize(("number", "precision"), [(1, "fp32"), (2, "bf16")])
def test_metadata(base: Path, number: int, precision: str) -> None:
    meta = read_metadata(base / str(number))
    assert meta.precision == precision
    assert meta.weights_sha256 == DEMO_WEIGHTS_SHA256
    assert meta.names == tuple(CLASS_NAMES)
    assert (meta.imgsz, meta.conf, meta.iou, meta.max_det) == ((192, 320), 0.25, 0.7, 300)
    assert set(meta.tools) == {"sightline", "tensorflow", "torch", "ultralytics", "graph"}


def test_warm_up_records_are_requests_that_run(base: Path) -> None:
    file = base / "1" / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))
    ]
    assert 1 <= len(logs) <= 1000
    runner = Runner(base / "1")
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.signature_name == contract.SIGNATURE
        (image,) = request.inputs[contract.INPUT_IMAGE_BYTES].string_val
        runner.file(image, (1, 1))
    runner.close()


@pytest.mark.parametrize("number", [1, 2])
def test_a_tensor_of_any_shape_ends_no_server(base: Path, number: int) -> None:
    """TensorFlow's C++ looks at no placeholder's shape, and oneDNN's kernels abort for another rank."""
    model = sessions.load(str(base / str(number)))
    for shape in ((), (1,), (32, 32), (1, 32, 32), (1, 32, 32, 3, 1), (1, 32, 32, 4)):
        with pytest.raises(ServingError, match=r"not compatible with expected shape \[\?,\?,\?,3\]"):
            model.run(contract.SIGNATURE_LETTERBOXED, {contract.INPUT_IMAGES: np.zeros(shape, np.uint8)})
    with pytest.raises(ServingError, match="expected at least one image"):
        model.run(contract.SIGNATURE_LETTERBOXED, {contract.INPUT_IMAGES: np.zeros((0, 32, 32, 3), np.uint8)})
    for files in (np.array(b"file", object), np.array([[b"file"]], object)):
        with pytest.raises(ServingError, match=r"not compatible with expected shape \[\?\]"):
            model.run(contract.SIGNATURE, {contract.INPUT_IMAGE_BYTES: files})


def test_bf16_finds_the_same(base: Path) -> None:
    frames = list(validation_set(8, seed=11, size_wh=(640, 384)))
    found: dict[str, list[Any]] = {}
    for number in ("1", "2"):
        runner = Runner(base / number)
        found[number] = [runner.file(encode_png(f.image_bgr), (640, 384)) for f in frames]
        runner.close()
    pairs = 0
    for fp32, bf16 in zip(found["1"], found["2"], strict=True):
        for box, score in zip(fp32.boxes_xyxy, fp32.scores, strict=True):
            if score >= 0.5:
                pairs += 1
                assert np.abs(bf16.boxes_xyxy - box).max(-1).min() < 6
    assert pairs >= 8


def test_a_published_version_never_changes(base: Path) -> None:
    with pytest.raises(ExportError, match="1 exists: a published version never changes"):
        export(ExportConfig("demo", base, model_version=1))


def test_the_newest_version_whatever_zeros_its_name_begins_with(tmp_path: Path) -> None:
    for name in ("9", "0010"):  # TF Serving reads 10
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert version_folder(tmp_path).name == "0010"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "m/saved_model.pb; No space left on device"),
    ],
)
def test_a_failed_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("model.export.warmup_records", fail)
    with pytest.raises(ExportError, match=r"cannot write .*/1: No space left on device"):
        export(ExportConfig("demo", tmp_path / "m", imgsz=(32, 32), precision="fp32"))
    assert not (tmp_path / "m").exists() or not list((tmp_path / "m").iterdir())


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot write"):
        export(ExportConfig("demo", tmp_path / "file", imgsz=(32, 32)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("imgsz", (100, 100), "multiple of 32, got 100: try 96"),
        ("precision", "int8", "precision must be one of fp32, bf16, auto, got 'int8'"),
        ("conf", 0.0, "conf must lie between 0 and 1, got 0.0"),
        ("conf", 25.0, "conf must lie between 0 and 1"),
        ("iou", 1.0, "iou must lie between 0 and 1"),
        ("max_det", 0, "max_det must be at least 1 and at most 30000, got 0"),
        ("max_det", 99999999999, "max_det must be at least 1 and at most 30000"),
        ("max_pixels", 10**27, "max_pixels must be at least 1 and at most 2147483647"),
        ("model_version", 10**20, "model_version must be at least 1 and at most 9223372036854775807"),
        ("imgsz", (640, 32 * 10**10), "imgsz must be at most 8192, got 320000000000"),
        ("max_pixels", -1, "max_pixels must be at least 1 and at most 2147483647, got -1"),
    ],
)
def test_settings_out_of_range(field: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ExportConfig("demo", Path("m"), **{field: value})  # type: ignore[arg-type]


def test_auto_is_decided_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (("avx512f avx512_bf16", "bf16"), ("asimd bf16 i8mm", "bf16"), ("avx2", "fp32")):
        monkeypatch.setattr(Path, "read_text", lambda _, flags=flags: f"flags\t\t: {flags}\n")
        assert resolve_precision("auto") == expected
    assert resolve_precision("fp32") == "fp32"


def test_metadata_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no version exported by sightline"):
        read_metadata(tmp_path)
    with pytest.raises(ValueError, match="expected key 'weights'"):
        ModelMetadata.from_json({})


def test_metadata_survives_json(base: Path) -> None:
    meta = read_metadata(base / "1")
    assert ModelMetadata.from_json(json.loads(json.dumps(meta.to_json()))) == meta
