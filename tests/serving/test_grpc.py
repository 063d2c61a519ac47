from __future__ import annotations

import threading
import time
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from tests.serving.conftest import Server

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


def request(name: str = "affine", signature: str = "", **inputs: Any) -> Any:
    """A PredictRequest from values (or TensorProtos)."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        tensor = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
        message.inputs[key].CopyFrom(tensor)
    return message


def predict(server: Server, message: Any, timeout: float = 20) -> Any:
    return server.call(PREDICT, message, predict_pb2.PredictResponse, timeout)


def failure(server: Server, message: Any, method: str = PREDICT) -> tuple[str, str]:
    """Code and text of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        server.call(method, message, predict_pb2.PredictResponse)
    return caught.value.code().name, caught.value.details()


def jpeg(height: int) -> bytes:
    return cv2.imencode(".jpg", np.zeros((height, 8, 3), np.uint8))[1].tobytes()


def test_predict_answers_in_typed_fields(server: Server) -> None:
    response = predict(server, request(x=[1.0, 2.0, 5.0]))
    assert list(response.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert not response.outputs["y"].tensor_content
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [3]
    assert response.model_spec.name == "affine"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_version_and_label_choose(server: Server) -> None:
    message = request(x=[0.0])
    message.model_spec.version.value = 1
    assert predict(server, message).model_spec.version.value == 1
    message.model_spec.version_label = "stable"
    answer = predict(server, message)
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.version_label == ""


def test_tensorflow_1_models_with_variables_tables_and_assets(server: Server) -> None:
    names = predict(server, request("tf1", ids=np.array([1, 0, 9], np.int64))).outputs["names"]
    assert list(names.string_val) == [b"dog", b"cat", b"none"]
    answer = predict(server, request("tf1", "add", a=[[1.0, 2.0]], b=[[10.0, 20.0]]))
    assert list(answer.outputs["sum"].float_val) == [31, 62]
    assert answer.model_spec.version.value == 123


def test_a_signatures_default_input(server: Server) -> None:
    assert list(predict(server, request("tf1", "add", a=[[1.0, 2.0]])).outputs["sum"].float_val) == [4, 5]


def test_a_model_that_keeps_state_keeps_one(server: Server) -> None:
    results: list[int] = []

    def call() -> None:
        for _ in range(10):
            results.append(
                predict(server, request("counter", step=np.int64(1))).outputs["calls"].int64_val[0]
            )

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Adding and reading are two ops, so two calls may read the same count; the last one reads all.
    assert max(results) == len(results) == 40


def test_output_filter(server: Server) -> None:
    message = request("tf1", "add", a=[[1.0, 2.0]])
    message.output_filter.extend(["rows", "scalar"])
    assert set(predict(server, message).outputs) == {"rows", "scalar"}
    message.output_filter.append("rows")
    assert failure(server, message) == ("INVALID_ARGUMENT", "duplicate output tensor alias: rows")
    message.output_filter[:] = ["q"]
    assert failure(server, message) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: q Outputs expected to be in the set {rows,scalar,sum}.",
    )


def with_spec(message: Any, spec: str) -> Any:
    text_format.Parse(spec, message.model_spec)
    return message


X = np.array([1.0], np.float32)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (request("none", x=X), "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (
            with_spec(request(x=X), "version { value: 9 }"),
            "NOT_FOUND",
            "Servable not found for request: Specific(affine, 9)",
        ),
        (
            with_spec(request(x=X), 'version_label: "L"'),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: L",
        ),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (request("", "s"), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (request(signature="s", x=X), "FAILED_PRECONDITION", 'Serving signature key "s" not found.'),
        (
            request(),
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            request(x=X, z=X),
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            request(z=X),
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ),
        (
            request(x=np.array([1], np.int32)),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but int32 is provided",
        ),
        (request(x=TensorProto(dtype=99)), "INVALID_ARGUMENT", "tensor parsing error: x"),
        (
            request(
                x=text_format.Parse("dtype: 1 tensor_shape { dim { size: -5 } } float_val: 1", TensorProto())
            ),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
    ],
)
def test_errors_have_tf_servings_codes_and_texts(server: Server, message: Any, code: str, text: str) -> None:
    assert failure(server, message) == (code, text)


def test_ops_errors_are_tensorflows_own(server: Server) -> None:
    code, text = failure(server, request("tf1", "add", a=np.ones((1, 3), np.float32)))
    assert code == "INVALID_ARGUMENT"
    assert "Incompatible shapes: [1,3] vs. [1,2]" in text
    assert "[[{{node" in text
    code, text = failure(server, request("strings", "heights", jpeg=[jpeg(8), b"no image"]))
    assert code == "INVALID_ARGUMENT"
    assert "Unknown image file format" in text
    assert "{{node map/while/DecodeJpeg}}]]" in text
    good = predict(server, request("strings", "heights", jpeg=[jpeg(8), jpeg(9)]))
    assert list(good.outputs["h"].int_val) == [8, 9]


def test_long_messages_are_cut(server: Server) -> None:
    code, text = failure(server, request("n" * 2000, x=X))
    assert code == "NOT_FOUND"
    assert len(text) == 1024 + len("...TRUNCATED")
    assert text.endswith("n...TRUNCATED")


def test_bytes_that_are_no_request(server: Server) -> None:
    assert failure(server, b"\xff\xff\xff") == ("INTERNAL", "The request is not a valid PredictRequest.")
    assert failure(server, b"\xff", METADATA)[0] == "INTERNAL"


def test_a_shape_that_lies_costs_no_memory(server: Server) -> None:
    tensor = TensorProto(dtype=1, float_val=[1.0])
    tensor.tensor_shape.dim.add(size=1 << 40)
    assert failure(server, request(x=tensor)) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_messages_above_grpcs_own_default_of_4_mib(server: Server) -> None:
    big = np.full(3_000_000, 2.0, np.float32)
    answer = predict(server, request(x=big))
    assert len(answer.outputs["y"].float_val) == len(big)
    assert answer.outputs["y"].float_val[-1] == 3.0


def test_gzip_requests(server: Server) -> None:
    call = server.channel.unary_unary(
        PREDICT, predict_pb2.PredictRequest.SerializeToString, predict_pb2.PredictResponse.FromString
    )
    answer = call(request(x=[1.0] * 1000), compression=grpc.Compression.Gzip, timeout=20)
    assert len(answer.outputs["y"].float_val) == 1000


def test_the_clients_deadline_ends_the_run(server: Server) -> None:
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        predict(server, request("strings", "slow", seconds=np.float64(30)), timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 5
    start = time.monotonic()  # the session is free again at once: the run was ended, not abandoned
    predict(server, request("strings", "slow", seconds=np.float64(0)), timeout=10)
    assert time.monotonic() - start < 5


def test_metadata(server: Server) -> None:
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "tf1"
    answer = server.call(METADATA, message, get_model_metadata_pb2.GetModelMetadataResponse)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(signatures)
    assert {"add", "serving_default"} <= set(signatures.signature_def)
    assert answer.model_spec.version.value == 123
    assert answer.model_spec.signature_name == ""


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ("", "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            'model_spec { name: "affine" }',
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            'model_spec { name: "affine" } metadata_field: "f"',
            "INVALID_ARGUMENT",
            "Metadata field f is not supported",
        ),
        (
            'model_spec { name: "q" } metadata_field: "signature_def"',
            "NOT_FOUND",
            "Servable not found for request: Latest(q)",
        ),
    ],
)
def test_metadata_errors(server: Server, spec: str, code: str, text: str) -> None:
    message = text_format.Parse(spec, get_model_metadata_pb2.GetModelMetadataRequest())
    assert failure(server, message, METADATA) == (code, text)


def test_status(server: Server) -> None:
    message = text_format.Parse('model_spec { name: "affine" }', get_model_status_pb2.GetModelStatusRequest())
    (entry,) = server.call(STATUS, message, get_model_status_pb2.GetModelStatusResponse).model_version_status
    assert (entry.version, entry.state, entry.status.error_code, entry.status.error_message) == (1, 30, 0, "")
    message.model_spec.version.value = 9
    assert failure(server, message, STATUS) == ("NOT_FOUND", "Could not find version 9 of model affine")
    message.model_spec.name = "q"
    message.model_spec.ClearField("version")
    assert failure(server, message, STATUS) == ("NOT_FOUND", "Could not find any versions of model q")


def test_reload_refuses_what_is_no_model_list(server: Server) -> None:
    message = model_management_pb2.ReloadConfigRequest()
    code, text = failure(server, message, RELOAD)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("ServerModelConfig type not supported by HandleReloadConfigRequest.")


def test_reload_over_grpc_and_a_unix_socket(start: Any, model_dir: Any, tmp_path: Any) -> None:
    socket_path = tmp_path / "grpc.sock"
    own = start(
        "--model_name=m", f"--model_base_path={model_dir / 'affine'}", f"--grpc_socket_path={socket_path}"
    )
    config = (
        'config { model_config_list { config { name: "new" base_path: "%s" model_platform: "tensorflow" } } }'
        % (model_dir / "tf1")
    )
    message = text_format.Parse(config, model_management_pb2.ReloadConfigRequest())
    answer = own.call(RELOAD, message, model_management_pb2.ReloadConfigResponse)
    assert answer.HasField("status")
    assert answer.status.error_code == 0
    with grpc.insecure_channel(f"unix:{socket_path}") as channel:
        call = channel.unary_unary(
            PREDICT, predict_pb2.PredictRequest.SerializeToString, predict_pb2.PredictResponse.FromString
        )
        names = call(request("new", ids=np.array([1], np.int64)), timeout=20).outputs["names"]
    assert list(names.string_val) == [b"dog"]


def test_other_methods_are_unimplemented(server: Server) -> None:
    code, _ = failure(server, request("affine"), "/tensorflow.serving.PredictionService/PredictStreamed")
    assert code == "UNIMPLEMENTED"


def test_health_knows_tf_servings_names(server: Server) -> None:
    for name in ("", "ModelService", "PredictionService"):
        answer = server.call(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(service=name),
            health_pb2.HealthCheckResponse,
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    full = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
    assert failure(server, full, "/grpc.health.v1.Health/Check")[0] == "NOT_FOUND"


def test_reflection(server: Server) -> None:
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= set(
        database.get_services()
    )
    assert database.FindFileContainingSymbol("tensorflow.serving.PredictionService")


def test_too_many_calls_are_told_so_and_the_rest_is_answered(start: Any, model_dir: Any) -> None:
    limited = start("--model_name=m", f"--model_base_path={model_dir / 'strings'}", "--grpc_max_threads=2")
    slow = request("m", "slow", seconds=np.float64(1.0))
    codes: list[str] = []

    def call() -> None:
        try:
            predict(limited, slow)
            codes.append("OK")
        except grpc.RpcError as error:
            codes.append(f"{error.code().name} {error.details()}")

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["OK"] * 2 + ["RESOURCE_EXHAUSTED Server Threadpool Exhausted"] * 3
    health_request = health_pb2.HealthCheckRequest()
    assert failure(limited, health_request, "/grpc.health.v1.Health/Check")[0] == "UNIMPLEMENTED"
