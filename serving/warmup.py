"""Warm-up requests in a SavedModel: replayed before the version serves, as TF Serving does."""

from __future__ import annotations

import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import Code, ServingError, invalid
from serving.metrics import Metrics
from serving.request import parse_predict
from serving.sessions import Model

REQUESTS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(model: Model, iterations: int, metrics: Metrics) -> int:
    """Replay the model's warm-up records on every session, `iterations` times each; return their number.

    The file is a TFRecord of PredictionLog; only predict logs are supported. Any error fails the load.
    """
    path = Path(model.path) / REQUESTS_FILE
    if not path.exists():
        return 0
    start, status, count = time.monotonic(), "OK", 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            count += 1
            if count > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            _replay_record(model, record, iterations, path)
    except ServingError as error:
        status = str(error)
        raise
    except tf.errors.DataLossError as error:
        status = "DATA_LOSS"
        text = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(Code.DATA_LOSS, text) from None
    finally:
        metrics.observe_warmup(model.path, status, time.monotonic() - start)
    return count


def _replay_record(model: Model, record: bytes, iterations: int, path: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError:
        raise invalid(f"Failed to parse warmup record from {path}") from None
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    signature, inputs, outputs = parse_predict(model, log.predict_log.request)
    for _ in range(iterations):
        model.warm(signature, inputs, outputs)
