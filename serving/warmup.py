"""Warm-up requests in a SavedModel: replayed before the version serves, as TF Serving does."""

from __future__ import annotations

import os
import time
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.python.framework import errors
from tensorflow.python.lib.io import _pywrap_record_io, file_io
from tensorflow_serving.apis import prediction_log_pb2

from serving import examples
from serving.errors import Code, ServingError, invalid, truncated
from serving.lite import LiteModel
from serving.metrics import Metrics
from serving.request import DEFAULT_SIGNATURE, parse_predict
from serving.sessions import Model

REQUESTS_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(model: Model | LiteModel, iterations: int, metrics: Metrics, beside_serving: bool = False) -> int:
    """Replay the model's warm-up records on every session, `iterations` times each; return their number.

    The file is a TFRecord of PredictionLog, of all kinds but session runs. Any error fails the load; only a file that
    was read to its end, or to where it is broken, is measured. The runs give way
    to other models' calls if they are `beside_serving`; what is around them does not, as it holds Python's lock.
    """
    path = os.path.join(model.path, REQUESTS_FILE)
    if not file_io.file_exists_v2(path):
        return 0
    start, count = time.monotonic(), 0
    try:
        for record in _pywrap_record_io.RecordIterator(path, ""):
            _replay_record(model, record, iterations, path, beside_serving)
            count += 1
            if count > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except errors.DataLossError as error:
        metrics.observe_warmup(model.path, f"DATA_LOSS: {error.message}", time.monotonic() - start)
        text = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(Code.DATA_LOSS, text) from None
    metrics.observe_warmup(model.path, "OK", time.monotonic() - start)
    return count


def _replay_record(
    model: Model | LiteModel, record: bytes, iterations: int, path: str, beside_serving: bool
) -> None:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError:
        shown = truncated(record.decode("utf-8", "replace"))
        raise invalid(f"Failed to parse warmup record: {shown} from {path}") from None
    for run in _runs(model, log):
        for _ in range(iterations):
            model.warm(*run, beside_serving)


def _runs(model: Model | LiteModel, log: Any) -> list[tuple[str, dict[str, NDArray[Any]], list[str]]]:
    """What a record asks to run: signature, inputs and outputs of each run."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return []
    if kind == "predict_log":
        return [parse_predict(model, log.predict_log.request)]
    if kind == "multi_inference_log":
        request = log.multi_inference_log.request
        plan = examples.check_tasks(request.tasks, model.signatures, check_method=False)
        rows = examples.serialized(request.input)
        return [(name, {"inputs": rows}, outputs) for name, _, outputs in plan]
    methods = {"classify_log": examples.CLASSIFY, "regress_log": examples.REGRESS}
    if kind not in methods:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    request, method = getattr(log, kind).request, methods[kind]
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = examples.find_signature(model.signatures, name, method, check_method=False)
    outputs = examples.outputs_of(signature, method, check_method=False)
    return [(name, {"inputs": examples.serialized(request.input)}, outputs)]
