# ruff: noqa: E501  (tables of texts, each on its line)
"""The REST API: bodies to the character, and errors."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tests.conformance.client import Client

pytestmark = pytest.mark.timeout(300)  # the first test waits for three servers to start
HALF = "/v1/models/half_plus_two"


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("versions:predict", {"instances": [1.0, 2.0]}, '{\n    "predictions": [5.0, 8.0\n    ]\n}'),
        ("versions/versions/1:predict", {"instances": [1.0]}, '{\n    "predictions": [3.0\n    ]\n}'),
        ("versions/labels/stable:predict", {"inputs": [1, 2]}, '{\n    "outputs": [\n        4.0,\n        6.0\n    ]\n}'),
        ("half_plus_two:predict", {"instances": [2.0, 3.0, 4.0]}, '{\n    "predictions": [3.0, 3.5, 4.0\n    ]\n}'),
        ("half_plus_two:predict", {"inputs": [2.0, 3.0, 4.0]}, '{\n    "outputs": [\n        3.0,\n        3.5,\n        4.0\n    ]\n}'),
        ("half_plus_two:predict", b'{"inputs": [Infinity, -Inf, NaN]}', '{\n    "outputs": [\n        Infinity,\n        -Infinity,\n        NaN\n    ]\n}'),
        ("half_plus_two:predict", b'{"inputs": 100000000000000000000}', '{\n    "outputs": 5e+19\n}'),
        ("half_plus_two:predict", b'{"inputs": [], "inputs": 1}', '{\n    "outputs": []\n}'),
        ("half_plus_two:predict", {"inputs": {"x": [[], []]}}, '{\n    "outputs": [\n        [],\n        []\n    ]\n}'),
        ("strings:predict", {"instances": ["\x1b\n"]}, '{\n    "predictions": [\n        {\n            "length": 2,\n            "s": "\\u001B\\n",\n            "s_bytes": {\n                "b64": "Gwo="\n            }\n        }\n    ]\n}'),
        ("half_plus_two:predict", {"instances": [[0.1]]}, '{\n    "predictions": [[2.05]\n    ]\n}'),
        ("half_plus_two:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}, '{\n    "results": [3.0]\n}'),
        ("half_plus_two:classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}, '{\n    "results": [[["", 3.0]]\n    ]\n}'),
        ("strings:predict", {"inputs": {"b64": "YWJj"}}, '{\n    "outputs": {\n        "length": 3,\n        "s": "abc",\n        "s_bytes": {\n            "b64": "YWJj"\n        }\n    }\n}'),
    ],
)  # fmt: skip
def test_answers(main: Client, path: str, body: Any, answer: str) -> None:
    assert main.http("POST", f"/v1/models/{path}", body) == (200, answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", f"{HALF}:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", f"{HALF}:predict", b"x", 400, "JSON Parse error: Invalid value. at offset: 0"),
        ("POST", f"{HALF}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", f"{HALF}:predict", {"signature_name": "s", "instances": [1]}, 400, 'Serving signature name: "s" not found in signature def'),
        ("POST", f"{HALF}:predict", {"inputs": [16777216]}, 400, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ("POST", f"{HALF}:predict", {"instances": [[1], [2, 3]]}, 400, "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2"),
        ("POST", f"{HALF}:predict", {"instances": [{}]}, 400, "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x"),
        ("POST", "/v1/models/strings:predict", {"inputs": {"b64": "eA="}}, 400, "Unable to base64 decode"),
        ("POST", f"{HALF}:PREDICT", {"inputs": [1]}, 400, f"Malformed request: POST {HALF}:PREDICT"),
        ("POST", "/v1/models/none:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(none)"),
        ("GET", "/v1/models/none", None, 404, "Could not find any versions of model none"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", f"{HALF}:predict", None, 400, f"Malformed request: GET {HALF}:predict"),
        ("DELETE", HALF, None, 400, f"Malformed request: DELETE {HALF}"),
    ],
)  # fmt: skip
def test_errors(main: Client, method: str, path: str, body: Any, status: int, text: str) -> None:
    found, answer = main.http(method, path, body)
    assert (found, json.loads(answer)["error"]) == (status, text)
    assert answer.startswith('{\n    "error": "')


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("TRACE", HALF, 501)])
def test_outside_the_api(main: Client, method: str, path: str, status: int) -> None:
    response, text = main.exchange(method, path)
    assert response.status == status
    assert response.headers["Connection"] == "close"
    assert response.headers["Content-Type"] == "text/html"
    title = f"{status} {'Not Found' if status == 404 else 'Not Implemented'}"
    assert text.startswith(f"<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD>")


@pytest.mark.parametrize("name", ["main", "without"])  # --rest_api_enable_cors_support is off, on
@pytest.mark.parametrize(
    ("origin", "status"), [("https://a.b", 200), ("http://a", 200), ("a.b", 400), (None, 400)]
)
def test_what_a_browser_asks_before(
    fleet: dict[str, Client], name: str, origin: str | None, status: int
) -> None:
    response, text = fleet[name].exchange(
        "OPTIONS", f"{HALF}:predict", None, {"Origin": origin} if origin else {}
    )
    assert (response.status, text) == (status, "")
    assert response.headers["Content-Type"] != "application/json"
    found = {
        name: response.headers[f"Access-Control-Allow-{name}"] for name in ("Origin", "Methods", "Headers")
    }
    expected = {"Origin": "*", "Methods": "POST, GET", "Headers": "Content-Type"}
    assert found == (expected if name == "without" else dict.fromkeys(expected))


def test_status(main: Client) -> None:
    status, text = main.http("GET", f"{HALF}/versions/123")
    assert status == 200
    entry = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert json.loads(text) == {"model_version_status": [entry]}


def test_metadata(main: Client, folder: Path) -> None:
    status, text = main.http("GET", f"{HALF}/metadata")
    assert status == 200
    document = json.loads(text)
    assert document["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    saved = saved_model_pb2.SavedModel.FromString(
        (folder / "half_plus_two" / "00000123" / "saved_model.pb").read_bytes()
    )
    assert signatures.keys() == saved.meta_graphs[0].signature_def.keys()
    assert all(signatures[name]["defaults"] == {} for name in signatures)
    signature = signatures["serving_default"]
    dims = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
    info = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": "x:0"}
    assert signature["inputs"] == {"x": info}
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_gzip_and_base64(main: Client) -> None:
    body = json.dumps({"inputs": {"b64": base64.b64encode(b"\xff\x00").decode()}}).encode()
    status, text = main.http(
        "POST", "/v1/models/strings:predict", gzip.compress(body), {"Content-Encoding": "gzip"}
    )
    assert status == 200
    assert json.loads(text)["outputs"]["s_bytes"] == {"b64": "/wA="}


def test_what_says_gzip_and_has_no_body(main: Client) -> None:
    assert main.http("GET", HALF, None, {"Content-Encoding": "gzip"})[0] == 200


def count(client: Client, sample: str) -> int:
    """A sample of the metrics' page, 0 where it is not there."""
    _, text = client.http("GET", "/monitoring/prometheus/metrics")
    found = [line for line in text.splitlines() if line.startswith(f":tensorflow:serving:{sample} ")]
    return int(found[0].split()[-1]) if found else 0


@pytest.mark.parametrize(
    ("method", "path", "headers", "sample"),
    [
        ("GET", f"{HALF}:predict", {}, 'request_count{model_name="",status="INVALID_ARGUMENT"}'),
        ("DELETE", HALF, {}, 'request_count{model_name="",status="INVALID_ARGUMENT"}'),
        (
            "POST",
            f"{HALF}:PREDICT",
            {},
            'request_count{model_name="half_plus_two",status="INVALID_ARGUMENT"}',
        ),
        ("OPTIONS", HALF, {"Origin": "http://a"}, 'request_count{model_name="",status="OK"}'),
        ("OPTIONS", HALF, {}, 'request_count{model_name="",status="FAILED_PRECONDITION"}'),
        ("GET", HALF, {}, 'request_latency_count{model_name="half_plus_two",API="",entrypoint="REST"}'),
        (
            "GET",
            f"{HALF}/metadata",
            {},
            'request_latency_count{model_name="half_plus_two",API="",entrypoint="REST"}',
        ),
    ],
)
def test_what_is_counted(main: Client, method: str, path: str, headers: dict[str, str], sample: str) -> None:
    before = count(main, sample)
    main.http(method, path, None, headers)
    assert count(main, sample) == before + 1


def test_metrics(main: Client) -> None:
    main.http("POST", f"{HALF}:predict", {"instances": [[1.0]]})
    status, text = main.http("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    assert ':tensorflow:serving:request_count{model_name="half_plus_two",status="OK"}' in text
    assert (
        ':tensorflow:serving:request_latency_bucket{model_name="half_plus_two",API="predict",entrypoint="REST",le="10"}'
        in text
    )
