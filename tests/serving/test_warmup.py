from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving import sessions, warmup
from serving.errors import Code, ServingError
from serving.gently import NICE
from serving.metrics import Metrics


def predict_log(x: Any) -> bytes:
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return bytes(log.SerializeToString())


def model_with(model_dir: Path, folder: Path, records: Sequence[bytes]) -> sessions.Model:
    shutil.copytree(model_dir / "affine" / "1", folder)
    file = folder / warmup.REQUESTS_FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return sessions.load(str(folder))


def test_records_run_on_every_session(model_dir: Path, tmp_path: Path) -> None:
    model = model_with(model_dir, tmp_path / "1", [predict_log([1.0]), predict_log([1.0, 2.0])])
    metrics = Metrics()
    assert warmup.replay(model, 3, metrics) == 2
    assert set(model.runs.values()) == {6}
    assert f'model_warmup_latency_count{{model_path="{tmp_path / "1"}",status="OK"}} 1' in metrics.page()


def test_beside_serving_only_the_runs_give_way(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_with(model_dir, tmp_path / "1", [predict_log([1.0])])
    seen: dict[str, int] = {}

    class Watched(Metrics):
        def observe_warmup(self, path: str, status: str, seconds: float) -> None:
            seen["around"] = os.getpriority(os.PRIO_PROCESS, 0)
            super().observe_warmup(path, status, seconds)

    run = model.warm

    def warm(*args: Any) -> None:
        seen["run"] = os.getpriority(os.PRIO_PROCESS, 0)
        run(*args)

    monkeypatch.setattr(model, "warm", warm)
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    for beside_serving, nice in ((False, mine), (True, min(mine + NICE, 19))):
        warmup.replay(model, 1, Watched(), beside_serving)
        assert seen == {"run": nice, "around": mine}


def test_no_records_is_fine(model_dir: Path) -> None:
    assert warmup.replay(sessions.load(str(model_dir / "affine" / "1")), 1, Metrics()) == 0


@pytest.mark.parametrize(
    ("records", "code", "text"),
    [
        ([predict_log([1])], Code.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"),
        ([b"\xff"], Code.INVALID_ARGUMENT, "Failed to parse warmup record"),
        ([b""], Code.UNIMPLEMENTED, "Unsupported log_type for warmup"),
        ([predict_log([1.0])] * 1001, Code.INVALID_ARGUMENT, "exceeds the maximum (1000)"),
    ],
)
def test_any_error_fails_the_load(
    model_dir: Path, tmp_path: Path, records: list[bytes], code: Code, text: str
) -> None:
    model = model_with(model_dir, tmp_path / "1", records)
    with pytest.raises(ServingError) as caught:
        warmup.replay(model, 1, Metrics())
    assert caught.value.code == code
    assert text in caught.value.message


def test_a_file_that_is_no_tfrecord(model_dir: Path, tmp_path: Path) -> None:
    model = model_with(model_dir, tmp_path / "1", [])
    (tmp_path / "1" / warmup.REQUESTS_FILE).write_bytes(b"not a record file at all")
    with pytest.raises(ServingError) as caught:
        warmup.replay(model, 1, Metrics())
    assert caught.value.code == Code.DATA_LOSS
    assert "Please verify your warmup data is in TFRecord format." in caught.value.message
