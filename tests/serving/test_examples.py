"""Classify, Regress and MultiInference, over gRPC and REST, and as warm-up records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving import sessions, warmup
from serving.metrics import Metrics
from tests.serving import models
from tests.serving.conftest import Server

SERVICE = "/tensorflow.serving.PredictionService/"


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    base = tmp_path_factory.mktemp("half")
    models.half_plus(base / "123")
    return start(f"--model_base_path={base}")


def fill(message: Any, signature: str, *values: float, context: bool = False) -> Any:
    """A request with one Example for each value, or with all in the context."""
    spec = message.tasks.add().model_spec if hasattr(message, "tasks") else message.model_spec
    spec.name, spec.signature_name = "default", signature
    lists = message.input.example_list_with_context if context else message.input.example_list
    for value in values:
        example = lists.examples.add()
        if not context:
            example.features.feature["x"].float_list.value.append(value)
    if context:
        lists.context.features.feature["x"].float_list.value.append(values[0])
    return message


def classify(server: Server, signature: str, *values: float, **more: Any) -> Any:
    request = fill(classification_pb2.ClassificationRequest(), signature, *values, **more)
    return server.call(SERVICE + "Classify", request, classification_pb2.ClassificationResponse)


def regress(server: Server, signature: str, *values: float) -> Any:
    request = fill(regression_pb2.RegressionRequest(), signature, *values)
    return server.call(SERVICE + "Regress", request, regression_pb2.RegressionResponse)


def multi(server: Server, tasks: list[tuple[str, str, str]], *values: float) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method and f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, signature
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return server.call(SERVICE + "MultiInference", request, inference_pb2.MultiInferenceResponse)


def test_classify(server: Server) -> None:
    response = classify(server, "classify_x_to_y", 2.0, 4.0)
    assert [[c.score for c in row.classes] for row in response.result.classifications] == [[3.0], [4.0]]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("default", "classify_x_to_y", 123)
    named = classify(server, "classify_named", 2.0)
    assert named.result.classifications[0].classes[0].label == "label"


def test_context_comes_before_each_example(server: Server) -> None:
    response = classify(server, "classify_x_to_y", 2.0, 0.0, context=True)
    assert [row.classes[0].score for row in response.result.classifications] == [3.0, 3.0]


def test_regress(server: Server) -> None:
    assert [one.value for one in regress(server, "regress_x_to_y", 2.0, 6.0).result.regressions] == [3.0, 5.0]


def test_multi_inference(server: Server) -> None:
    tasks = [TASK, ("default", "classify_x_to_y", "classify")]
    response = multi(server, tasks, 2.0)
    assert response.results[0].regression_result.regressions[0].value == 3.0
    assert response.results[1].classification_result.classifications[0].classes[0].score == 3.0
    assert [r.model_spec.signature_name for r in response.results] == ["regress_x_to_y", "classify_x_to_y"]


INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
TASK = ("default", "regress_x_to_y", "regress")


@pytest.mark.parametrize(
    ("signature", "values", "code", "text"),
    [
        ("nope", [2.0], INVALID, "No signature was found with the name: nope"),
        ("regress_x_to_y", [], INVALID, "Input is empty."),
        ("two_inputs", [2.0], INVALID, "Expected one input Tensor."),
        ("serving_default", [2.0], PRECONDITION, "No regression inputs found in SignatureDef: inputs {"),
        ("classify_x_to_y", [2.0], PRECONDITION, "No regression outputs found in SignatureDef: inputs {"),
        ("wide", [2.0], INVALID, "Expected output Tensor shape to be either [batch_size] or [bat"),
        ("regress_x", [2.0], INVALID, "Expects arg[0] to be float but string is provided"),
    ],
)  # fmt: skip
def test_regress_errors(
    server: Server, signature: str, values: list[float], code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        regress(server, signature, *values)
    assert raised.value.code() == code
    assert raised.value.details().startswith(text)


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([("default", "", "predict")], UNIMPLEMENTED, "Unsupported signature method_name: tensorflow/serving/predict"),
        ([TASK] * 2, INVALID, "Duplicate evaluation of signature: regress_x_to_y"),
        ([("default", "nope", "regress")], INVALID, "Requested signature not found in model graph: nope"),
        ([TASK, ("b", "wide", "regress")], INVALID, "All ModelSpecs in a MultiInferenceRequest must access t"),
        ([TASK, ("default", "regress_x", "regress")], INVALID, "Expects arg[0] to be float but string is"),
        ([], INVALID, "ModelSpec has no name specified."),
    ],
)  # fmt: skip
def test_multi_inference_errors(
    server: Server, tasks: list[tuple[str, str, str]], code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        multi(server, tasks, 2.0)
    assert raised.value.code() == code
    assert raised.value.details().startswith(text)


def test_rest(server: Server) -> None:
    body = json.dumps({"signature_name": "classify_named", "examples": [{"x": 2.0}, {"x": [4.5]}]})
    status, text = server.http("POST", "/v1/models/default:classify", body)
    assert (status, text) == (200, '{\n    "results": [[["label", 3.0]], [["label", 4.25]]\n    ]\n}')
    body = json.dumps(
        {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": 6.0}]}
    )
    status, text = server.http("POST", "/v1/models/default/versions/123:regress", body)
    assert (status, text) == (200, '{\n    "results": [3.0, 5.0]\n}')


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instances": [1]}, "key 'examples' is expected and was not found"),
        ({"examples": 3}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": [1.0, "a"]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1 << 63]}]}, "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e300}]}, "to float without loss of precision."),
        ({"examples": [{"x": {"b64": "!"}}]}, "Unable to base64 decode"),
    ],
)
def test_rest_errors(server: Server, body: dict[str, Any], text: str) -> None:
    status, error = server.error("POST", "/v1/models/default:regress", json.dumps(body))
    assert status == 400
    assert error.endswith(text)


def test_warm_up_of_every_kind(server: Server, tmp_path: Path) -> None:
    folder = models.half_plus(tmp_path / "1")
    logs = [prediction_log_pb2.PredictionLog() for _ in range(3)]
    fill(logs[0].classify_log.request, "classify_x_to_y", 1.0)
    fill(logs[1].regress_log.request, "regress_x_to_y", 1.0)
    fill(logs[2].multi_inference_log.request, "regress_x_to_y", 1.0).tasks[
        0
    ].method_name = "tensorflow/serving/regress"
    path = folder / warmup.REQUESTS_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    model = sessions.load(str(folder))
    assert warmup.replay(model, 1, Metrics()) == 3
    assert all(runs == 3 for runs in model.runs.values())
