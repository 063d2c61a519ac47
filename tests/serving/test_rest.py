from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from serving.predict import Predictor
from serving.rest import RestApp, RestOptions
from serving.rest_server import RestServer
from tests.serving.conftest import Server

AFFINE = "/v1/models/affine:predict"


def test_rows(server: Server) -> None:
    status, text = server.http("POST", AFFINE, '{"instances": [1.0, 2.0, 5]}')
    assert status == 200
    assert text == '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'


def test_columns(server: Server) -> None:
    _, text = server.http("POST", "/v1/models/affine/versions/1:predict", '{"inputs": [1.0, 2.0]}')
    assert text == '{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}'
    _, text = server.http("POST", "/v1/models/affine/labels/stable:predict", '{"inputs": {"x": [1.0]}}')
    assert json.loads(text) == {"outputs": [2.5]}


def test_named_rows_and_a_signature(server: Server) -> None:
    body = {"signature_name": "serving_default", "instances": [{"ids": 1}, {"ids": 0}]}
    _, text = server.http("POST", "/v1/models/tf1:predict", json.dumps(body))
    assert json.loads(text) == {"predictions": ["dog", "cat"]}


def test_several_outputs_and_bytes(server: Server) -> None:
    data = b"\xff\0\xfe"
    body = {"instances": [{"b64": base64.b64encode(data).decode()}, "caf\u00e9"]}
    status, text = server.http("POST", "/v1/models/strings:predict", json.dumps(body))
    assert status == 200
    second = json.loads(text)["predictions"][1]
    assert second == {
        "length": 5,
        "s": "café",
        "s_bytes": {"b64": base64.b64encode("café".encode()).decode()},
    }
    assert server.http("POST", "/v1/models/strings:predict", '{"inputs": {"s": "x"}}')[1] == (
        '{\n    "outputs": {\n        "length": 1,\n        "s": "x",\n        "s_bytes": {\n'
        '            "b64": "eA=="\n        }\n    }\n}'
    )


def test_status(server: Server) -> None:
    expected = {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in ("/v1/models/affine", "/v1/models/affine/versions/1", "/v1/MODELS/affine"):
        status, text = server.http("GET", path)
        assert (status, json.loads(text)) == (200, expected)


def test_metadata_keeps_empty_fields(server: Server) -> None:
    status, text = server.http("GET", "/v1/models/tf1/metadata")
    assert status == 200
    answer = json.loads(text)
    assert answer["model_spec"] == {"name": "tf1", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["defaults"] == {}
    assert signature["inputs"]["ids"]["dtype"] == "DT_INT64"
    assert signature["inputs"]["ids"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v1/nothing", None, 400, "Malformed request: GET /v1/nothing"),
        ("GET", "/v1/models/affine?a=1", None, 404, "Could not find any versions of model affine?a=1"),
        ("POST", AFFINE + "?a=1", "{}", 400, f"Malformed request: POST {AFFINE}?a=1"),
        ("POST", "/v1/models/affine", "{}", 400, "Malformed request: POST /v1/models/affine"),
        (
            "POST",
            "/v1/models/affine:evaluate",
            "{}",
            400,
            "Malformed request: POST /v1/models/affine:evaluate",
        ),
        ("GET", AFFINE, None, 400, f"Malformed request: GET {AFFINE}"),
        ("DELETE", "/v1/models/affine", None, 400, "Malformed request: DELETE /v1/models/affine"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/q", None, 404, "Could not find any versions of model q"),
        ("GET", "/v1/models/affine/versions/9", None, 404, "Could not find version 9 of model affine"),
        ("GET", "/v1/models/q/metadata", None, 404, "Servable not found for request: Latest(q)"),
        ("GET", "/v1/models/..%2f..%2fetc", None, 404, "Could not find any versions of model ../../etc"),
        (
            "GET",
            "/v1/models/affine/versions/99999999999999999999999",
            None,
            400,
            "Failed to convert version: 99999999999999999999999 to numeric.",
        ),
        (
            "POST",
            "/v1/models/q:predict",
            '{"instances": [1]}',
            404,
            "Servable not found for request: Latest(q)",
        ),
        ("POST", AFFINE.upper(), "{}", 400, f"Malformed request: POST {AFFINE.upper()}"),
        ("POST", AFFINE, "", 400, "JSON Parse error: The document is empty"),
        ("POST", AFFINE, "inst", 400, "JSON Parse error: Invalid value. at offset: 0"),
        ("POST", AFFINE, "{}", 400, "Missing 'inputs' or 'instances' key"),
        (
            "POST",
            AFFINE,
            '{"instances": ["a"]}',
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" "
            "Type: String is not of expected type: float",
        ),
        (
            "POST",
            AFFINE,
            '{"signature_name": "s", "instances": [1]}',
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        (
            "POST",
            "/v1/models/tf1:predict",
            '{"signature_name": "add", "instances": [{"a": [1, 2], "b": [1, 2]}]}',
            400,
            "Tensor name: scalar has no shape information ",
        ),
    ],
)
def test_errors(server: Server, method: str, path: str, body: Any, status: int, text: str) -> None:
    assert server.error(method, path, body) == (status, text)


def test_paths_outside_v1_are_not_found(server: Server) -> None:
    page = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
    for path in ("/", "/v2/models/affine", "/etc/passwd", "/monitoring", "/v1"):
        assert server.http("GET", path) == (404, page)


def test_metrics_take_no_query(server: Server) -> None:
    path = "/monitoring/prometheus/metrics"
    text = f"Unexpected path: {path}?name=x. Should be {path}"
    assert server.http("GET", f"{path}?name=x") == (400, text)


def test_json_bombs_are_refused(server: Server) -> None:
    bodies = ['{"instances": ' + "[" * 100_000, '{"instances": [' + "9" * 10_000 + "]}"]
    bodies += ['{"instances": ' + "[" * depth + "1" + "]" * depth + "}" for depth in (65, 66, 70, 500, 950)]
    bodies += ['{"instances": ' + '[{"x":' * depth + "1" + "}]" * depth + "}" for depth in (70, 300, 450)]
    for body in bodies:
        status, _ = server.error("POST", AFFINE, body)
        assert status == 400


def test_gzip_requests_and_bombs(server: Server) -> None:
    zipped = {"Content-Encoding": "gzip"}
    status, _ = server.http("POST", AFFINE, gzip.compress(b'{"instances": [1.0]}'), zipped)
    assert status == 200
    zipped_as_well = {"Content-Encoding": "x-gzip"}
    assert server.http("POST", AFFINE, gzip.compress(b'{"instances": [1.0]}'), zipped_as_well)[0] == 200
    bomb = gzip.compress(b" " * (101 << 20))
    status, text = server.http("POST", AFFINE, bomb, zipped)
    assert status == 400
    assert "larger than 104857600 bytes" in text
    assert server.http("POST", AFFINE, b"no gzip", zipped)[0] == 400


def test_a_body_that_is_not_looked_at_need_not_be_gzip(server: Server) -> None:
    for body in (None, b"no gzip"):
        assert server.http("GET", "/v1/models/affine", body, {"Content-Encoding": "gzip"})[0] == 200
    status, text = server.http("POST", AFFINE, b"", {"Content-Encoding": "gzip"})
    assert (status, json.loads(text)["error"]) == (400, "JSON Parse error: The document is empty")


def test_idle_connections_are_kept_as_long_as_libevent_keeps_them(server: Server) -> None:
    app = RestApp(RestOptions(1, 1.0), Predictor(server.manager, server.metrics), server.metrics)
    kept = RestServer(app)
    assert kept._server.config.timeout_keep_alive == 50


def test_timeout_is_504(start: Any, model_dir: Any) -> None:
    hurried = start(
        "--model_name=m", f"--model_base_path={model_dir / 'strings'}", "--rest_api_timeout_in_ms=200"
    )
    body = '{"signature_name": "slow", "inputs": 30.0}'
    assert hurried.error("POST", "/v1/models/m:predict", body)[0] == 504


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_no_timeout(start: Any, model_dir: Any, timeout_ms: int) -> None:
    patient = start(
        "--model_name=m",
        f"--model_base_path={model_dir / 'affine'}",
        f"--rest_api_timeout_in_ms={timeout_ms}",
    )
    assert patient.http("POST", "/v1/models/m:predict", '{"inputs": [1.0]}')[0] == 200
