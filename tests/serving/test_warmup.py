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
from tests.serving import models

SESSION_RUN = prediction_log_pb2.PredictionLog(
    session_run_log=prediction_log_pb2.SessionRunLog()
).SerializeToString()


def predict_log(x: Any) -> bytes:
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return bytes(log.SerializeToString())


def model_with(model_dir: Path, folder: Path, records: Sequence[bytes]) -> sessions.Model:
    shutil.copytree(model_dir / "affine" / "1", folder)
    return sessions.load(str(models.with_warm_up(folder, records)))


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

    run_on = model._run_on

    def watched(*args: Any) -> Any:
        seen["run"] = os.getpriority(os.PRIO_PROCESS, 0)
        return run_on(*args)

    monkeypatch.setattr(model, "_run_on", watched)
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
        ([b"a\xff"], Code.INVALID_ARGUMENT, "Failed to parse warmup record: a\ufffd from /"),
        ([SESSION_RUN], Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 5"),
        ([predict_log([1.0])] * 1001, Code.INVALID_ARGUMENT, "exceeds the maximum (1000)"),
    ],
)
def test_any_error_fails_the_load(
    model_dir: Path, tmp_path: Path, records: list[bytes], code: Code, text: str
) -> None:
    model = model_with(model_dir, tmp_path / "1", records)
    metrics = Metrics()
    with pytest.raises(ServingError) as caught:
        warmup.replay(model, 1, metrics)
    assert caught.value.code == code
    assert text in caught.value.message
    assert "model_warmup_latency_count" not in metrics.page()


def test_a_record_of_no_kind_is_passed_over(model_dir: Path, tmp_path: Path) -> None:
    model = model_with(model_dir, tmp_path / "1", [b"", predict_log([1.0])])
    assert warmup.replay(model, 1, Metrics()) == 2
    assert set(model.runs.values()) == {1}


def test_a_file_that_is_no_tfrecord(model_dir: Path, tmp_path: Path) -> None:
    model = model_with(model_dir, tmp_path / "1", [])
    (tmp_path / "1" / warmup.REQUESTS_FILE).write_bytes(b"not a record file at all")
    metrics = Metrics()
    with pytest.raises(ServingError) as caught:
        warmup.replay(model, 1, metrics)
    assert caught.value.code == Code.DATA_LOSS
    assert ',status="DATA_LOSS: corrupted record at 0' in metrics.page()
    assert "Please verify your warmup data is in TFRecord format." in caught.value.message
