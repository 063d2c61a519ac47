# ruff: noqa: E501  (tables of texts, each on its line)
"""PredictionService and ModelService: answers, codes and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.conformance.client import Client, predict_request

pytestmark = pytest.mark.timeout(300)  # the first test waits for three servers to start


def request(text: str, message: Any) -> Any:
    return text_format.Merge(text, message)


@pytest.mark.parametrize("outputs", [[], ["y"]])
@pytest.mark.parametrize(("model", "expected"), [("half_plus_two", 3.0), ("half_plus_three", 4.0)])
def test_predict(main: Client, model: str, expected: float, outputs: list[str]) -> None:
    message = predict_request(model, x=[[2.0]])
    message.output_filter.extend(outputs)
    response = main.call("Predict", message)
    output = response.outputs["y"]
    assert set(response.outputs) == {"y"}
    assert (output.dtype, list(output.float_val), output.tensor_content) == (
        types_pb2.DT_FLOAT,
        [expected],
        b"",
    )
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == (model, "serving_default", 123)
    assert spec.WhichOneof("version_choice") == "version"


def test_versions_and_labels(main: Client) -> None:
    message = predict_request("versions", x=[1.0])
    assert main.floats(message) == [5.0]
    message.model_spec.version.value = 1
    assert main.floats(message) == [3.0]
    message.model_spec.version_label = "stable"
    response = main.call("Predict", message)
    assert list(response.outputs["y"].float_val) == [4.0]
    assert response.model_spec.version.value == 2


@pytest.mark.parametrize("name", ["keras", "keras_saved", "mirrored"])
def test_ways_to_save(main: Client, name: str) -> None:
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = name
    signatures = get_model_metadata_pb2.SignatureDefMap()
    main.call("GetModelMetadata", metadata).metadata["signature_def"].Unpack(signatures)
    (alias,) = signatures.signature_def["serving_default"].inputs  # Keras chooses it
    (output,) = main.call("Predict", predict_request(name, "", **{alias: [[2.0]]})).outputs.values()
    assert list(output.float_val) == [4.0]


def test_unknown_rank_and_signatures_by_name(main: Client) -> None:
    for x, expected in (([2.0], [12.0]), ([[1.0, 2.0]], [6.0, 12.0])):
        assert main.floats(predict_request("unknown_rank", x=x)) == expected
    assert main.floats(predict_request("unknown_rank", "custom_signature_key", x=[2.0])) == [2.0]


@pytest.mark.parametrize("name", ["lite", "lite_with_signature"])
def test_tensorflow_lite(fleet: dict[str, Client], name: str) -> None:
    response = fleet["lite"].call("Predict", predict_request(name, x=[2.0]))
    assert list(response.outputs["y"].float_val) == [3.0]
    assert (response.model_spec.signature_name, response.model_spec.version.value) == ("serving_default", 123)


def test_profiler(main: Client, tmp_path: Path) -> None:
    tf.profiler.experimental.client.trace(f"grpc://localhost:{main.port}", str(tmp_path), 200)
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_named_signatures(main: Client) -> None:
    response = main.call("Predict", predict_request("strings", "serving_default", s=[b"abc"]))
    assert list(response.outputs["s"].string_val) == [b"abc"]
    assert list(response.outputs["length"].int_val) == [3]


@pytest.mark.parametrize("name", ["half_plus_two", "tensorflow_2"])
def test_classify_regress_multi_inference(main: Client, name: str) -> None:
    spec = f'name: "{name}" signature_name: "{{}}"'
    example = 'input { example_list { examples { features { feature { key: "x" value { float_list { value: 2 } } } } } } }'
    classify = main.call(
        "Classify",
        request(
            f"model_spec {{ {spec.format('classify_x_to_y')} }} {example}",
            classification_pb2.ClassificationRequest(),
        ),
    )
    assert [one.score for one in classify.result.classifications[0].classes] == [3.0]
    assert (classify.model_spec.signature_name, classify.model_spec.version.value) == ("classify_x_to_y", 123)
    regress = main.call(
        "Regress",
        request(
            f"model_spec {{ {spec.format('regress_x_to_y')} }} {example}", regression_pb2.RegressionRequest()
        ),
    )
    assert [one.value for one in regress.result.regressions] == [3.0]
    tasks = "".join(
        f'tasks {{ model_spec {{ {spec.format(f"{kind}_x_to_y")} }} method_name: "tensorflow/serving/{kind}" }}'
        for kind in ("regress", "classify")
    )
    both = main.call("MultiInference", request(f"{tasks} {example}", inference_pb2.MultiInferenceRequest()))
    assert both.results[0].regression_result.regressions[0].value == 3.0
    assert both.results[1].classification_result.classifications[0].classes[0].score == 3.0
    assert [one.model_spec.signature_name for one in both.results] == ["regress_x_to_y", "classify_x_to_y"]


def with_spec(text: str, **inputs: Any) -> Any:
    return request(f"model_spec {{ {text} }}", predict_request("", **inputs))


def filtered(*outputs: str) -> Any:
    message = predict_request("half_plus_two", x=[[2.0]])
    message.output_filter.extend(outputs)
    return message


def lying() -> Any:
    message = predict_request("half_plus_two", x=[[2.0]])
    message.inputs["x"].tensor_content = b"123"
    return message


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (predict_request("none"), "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (with_spec('name: "versions" version { value: 9 }'), "NOT_FOUND", "Servable not found for request: Specific(versions, 9)"),
        (with_spec('name: "versions" version_label: "none"'), "INVALID_ARGUMENT", "Unrecognized servable version label: none"),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (with_spec(""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict_request("half_plus_two", "none"), "FAILED_PRECONDITION", 'Serving signature key "none" not found.'),
        (predict_request("half_plus_two"), "INVALID_ARGUMENT", "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        (predict_request("half_plus_two", z=[1.0]), "INVALID_ARGUMENT", "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs expected to be in the request {z}, or default input alias set: "),
        (lying(), "INVALID_ARGUMENT", "tensor parsing error: x"),
        (predict_request("versions", x=np.array([1], np.int32)), "INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided"),
        (filtered("q"), "INVALID_ARGUMENT", "output tensor alias not found in signature: q Outputs expected to be in the set {y}."),
        (filtered("y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    ],
)  # fmt: skip
def test_predict_errors(main: Client, message: Any, code: str, text: str) -> None:
    assert main.error("Predict", message) == (code, text)


def test_an_error_with_bytes_that_are_no_text(main: Client) -> None:
    code, text = main.error("Predict", predict_request("strings", "number", s=[b"\xff"]))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("StringToNumberOp could not correctly convert string: ")


def test_quantised_numbers(main: Client) -> None:
    message = predict_request("quantised")
    message.inputs["x"].CopyFrom(TensorProto(dtype=types_pb2.DT_QINT8, int_val=[1, -2]))
    message.inputs["x"].tensor_shape.dim.add(size=2)
    output = main.call("Predict", message).outputs["y"]
    assert (output.dtype, list(output.int_val)) == (types_pb2.DT_QINT8, [1, -2])


def test_an_empty_warm_up_record_is_no_error(main: Client) -> None:
    assert main.floats(predict_request("warmed", x=[2.0])) == [3.0]


def test_deadline(main: Client) -> None:
    code, _ = main.error("Predict", predict_request("strings", "slow", seconds=np.array(5.0)), timeout=0.5)
    assert code == "DEADLINE_EXCEEDED"


def test_no_deadline(main: Client) -> None:
    message = predict_request("versions", x=[1.0])
    with main.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for one in (message, message):
            assert list(stub.Predict(one).outputs["y"].float_val) == [5.0]


def test_large_and_compressed_messages(main: Client) -> None:
    x = np.ones(3_000_000, np.float32)  # 12 MB: three times what a server of other software takes by default
    message = predict_request("versions", x=x)
    response = main.call("Predict", message, compression=grpc.Compression.Gzip)
    assert len(response.outputs["y"].float_val) == len(x)


def test_status(main: Client) -> None:
    message = get_model_status_pb2.GetModelStatusRequest()
    assert main.error("GetModelStatus", message) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    message.model_spec.name = "versions"
    found = main.call("GetModelStatus", message).model_version_status
    assert [(one.version, one.state, one.status.error_code) for one in found] == [
        (3, 30, 0),
        (2, 30, 0),
        (1, 30, 0),
    ]
    message.model_spec.version.value = 9
    assert main.error("GetModelStatus", message) == (
        "NOT_FOUND",
        "Could not find version 9 of model versions",
    )
    message.model_spec.name = "none"
    message.model_spec.ClearField("version")
    assert main.error("GetModelStatus", message) == ("NOT_FOUND", "Could not find any versions of model none")


def test_metadata(main: Client) -> None:
    message = get_model_metadata_pb2.GetModelMetadataRequest()
    message.model_spec.name = "half_plus_two"
    code = "INVALID_ARGUMENT"
    assert main.error("GetModelMetadata", message) == (
        code,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    message.metadata_field.append("signature_def")
    response = main.call("GetModelMetadata", message)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].name == "x:0"
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (123, "")
    message.metadata_field.append("more")
    assert main.error("GetModelMetadata", message) == (code, "Metadata field more is not supported")


def test_unix_socket(main: Client, folder: Path) -> None:
    with grpc.insecure_channel(f"unix:{folder / 'socket'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(predict_request("half_plus_two", x=[[2.0]]), 20)
    assert list(response.outputs["y"].float_val) == [3.0]


def test_health_and_reflection(main: Client, fleet: dict[str, Client]) -> None:
    def check(client: Client, service: str) -> Any:
        with client.channel() as channel:
            message = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(channel).Check(message, 20).status

    for service in ("", "ModelService", "PredictionService"):
        assert check(main, service) == health_pb2.HealthCheckResponse.SERVING
    for client, service, code in (
        (main, "tensorflow.serving.PredictionService", grpc.StatusCode.NOT_FOUND),
        (fleet["reload"], "", grpc.StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            check(client, service)
        assert raised.value.code() == code
    with main.channel() as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= services
    assert "tensorflow.ProfilerService" in services
