# ruff: noqa: E501  (tables of texts, each on its line)
"""Start, configuration, reload and batching."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from tests.conformance.client import Client, predict_request
from tests.conformance.conftest import command, model_config

pytestmark = pytest.mark.timeout(300)  # the first test waits for three servers to start
AVAILABLE, END = 30, 50
ERROR = "Failed to start server. Error: "


def start(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command(), *flags], capture_output=True, text=True, timeout=90)


def test_starts_that_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("improperly formatted file")
    model = "--model_base_path=/no/such/folder"
    cases: list[tuple[list[str], str, str]] = [
        ([], "stdout", f"{ERROR}INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!"),
        ([f"--model_config_file={bad}"], "stderr", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ([model, f"--batching_parameters_file={bad}"], "stdout", "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."),
        ([model, "--enable_batching=perhaps"], "stdout", "usage: "),
        (["--model_base_path=relative"], "stdout", f"{ERROR}INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=relative"),
        ([f"--batching_parameters_file={bad}"], "stdout", "Both server_options.model_base_path and"),
        ([model, f"--batching_parameters_file={bad}", f"--platform_config_file={bad}"], "stdout", f"Invalid protobuf file: '{bad}'"),
        (["--no_such_flag=1", "--"], "stdout", "unknown argument: --no_such_flag=1\nusage: "),
        ([model, "--port=8500", "--help"], "stdout", "usage: "),
        (
            [model, *(f"--tensorflow_{name}_parallelism=2" for name in ("session", "intra_op", "inter_op"))],
            "stdout",
            "You cannot configure all.",
        ),
    ]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        for (flags, stream, text), done in zip(
            cases, pool.map(lambda case: start(*case[0]), cases), strict=True
        ):
            assert text in getattr(done, stream), (flags, done)
            assert done.returncode not in (0, None), flags


def test_a_label_at_start_needs_its_flag(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(model_config(("m", Path("/no/such/folder"), 'version_labels { key: "l" value: 1 }')))
    done = start(f"--model_config_file={config}")
    text = "Request to assign label to version 1 of model m, which is not currently available for inference"
    assert f"{ERROR}FAILED_PRECONDITION: {text}" in done.stdout
    assert done.returncode not in (0, None)


def test_the_highest_version_that_ends_decides(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "versions" / "1", tmp_path / "m" / "1")
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "config").write_text(model_config(("m", tmp_path / "m", "model_version_policy { all {} }")))
    done = start(f"--model_config_file={tmp_path / 'config'}", "--max_num_load_retries=0")
    text = "UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 2} due to error: NOT_FOUND: "
    assert f"{ERROR}{text}" in done.stdout
    assert done.returncode not in (0, None)


def test_version() -> None:
    done = start("--version")
    assert done.returncode == 0
    first, second = done.stdout.strip().splitlines()
    assert first.startswith("TensorFlow ModelServer: ")
    assert second.startswith("TensorFlow Library: ")


def test_the_log_says_what_scripts_wait_for(main: Client) -> None:
    texts = (
        "Successfully loaded servable version {name: half_plus_two version: 123}",
        "Running gRPC ModelServer at ",
        "Exporting HTTP/REST API at:",
        "Entering the event loop ...",
    )
    end = time.monotonic() + 30  # it may answer before it says so
    while missing := [text for text in texts if text not in main.log.read_text(errors="replace")]:
        assert time.monotonic() < end, missing
        time.sleep(0.1)


def wait_for(client: Client, message: Any, expected: list[float]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            assert client.floats(message) == expected
            return
        except Exception:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def reload_request(text: str) -> Any:
    return text_format.Parse(f"config {{ {text} }}", model_management_pb2.ReloadConfigRequest())


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ("", "INVALID_ARGUMENT", "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"),
        ('model_config_list { config { name: "m" base_path: "x" model_platform: "tensorflow" } }', "INVALID_ARGUMENT", "Expected model m to have an absolute path or URI; got base_path()=x"),
        ('model_config_list { config { name: "m" base_path: "/x" } }', "INVALID_ARGUMENT", "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, model name is m"),
        ('model_config_list { config { name: "m" base_path: "/x" model_platform: "caffe" } }', "INVALID_ARGUMENT", "Model m requests unsupported platform caffe"),
        ('model_config_list { config { name: "m" base_path: "/x" model_platform: "tensorflow" } config { name: "m" } }', "INVALID_ARGUMENT", "Illegal to list model m multiple times in config list"),
        ('model_config_list { config { name: "m" base_path: "/x" model_platform: "tensorflow" model_type: TENSORFLOW } }', "INVALID_ARGUMENT", "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."),
    ],
)  # fmt: skip
def test_reload_errors(fleet: dict[str, Client], text: str, code: str, error: str) -> None:
    assert fleet["reload"].error("HandleReloadConfigRequest", reload_request(text)) == (code, error)


def test_reload_by_file(fleet: dict[str, Client], folder: Path) -> None:
    client = fleet["reload"]
    two, three = predict_request("half_plus_two", x=[[2.0]]), predict_request("half_plus_three", x=[[2.0]])
    assert client.floats(two) == [3.0]
    text = model_config(("half_plus_three", folder / "half_plus_three", ""))
    (folder / "reload").write_text(text)
    wait_for(client, three, [4.0])
    listed = model_config(("half_plus_two", folder / "half_plus_two", ""))
    client.call("HandleReloadConfigRequest", reload_request(listed))
    wait_for(client, three, [4.0])  # the file is applied again
    (folder / "reload").write_text("")
    time.sleep(2)
    assert client.floats(three) == [4.0]  # an empty file takes nothing away


def test_reload_by_call(fleet: dict[str, Client], folder: Path) -> None:
    client = fleet["batching"]  # it polls no file
    listed = [(name, folder / name, "") for name in ("half_plus_two", "half_plus_three")]
    response = client.call("HandleReloadConfigRequest", reload_request(model_config(*listed)))
    assert response.HasField("status")
    assert response.status.error_code == 0
    three = predict_request("half_plus_three", x=[[2.0]])
    assert client.floats(three) == [4.0]  # a new model is there when the call returns
    labelled = model_config(
        ("half_plus_two", folder / "half_plus_two", 'version_labels { key: "l" value: 7 }')
    )
    assert client.error("HandleReloadConfigRequest", reload_request(labelled)) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model half_plus_two, which is not currently available for "
        "inference",
    )
    changed = reload_request(model_config(listed[0]).replace('"tensorflow"', '"caffe"'))
    assert client.error("HandleReloadConfigRequest", changed) == (
        "INVALID_ARGUMENT",
        "Illegal to change a model's platform. For model half_plus_two platform was tensorflow and new platform "
        "requested is caffe",
    )


def statuses(client: Client, name: str) -> list[tuple[int, int, int, str]]:
    """Version, state, code and text of each."""
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = name
    return [
        (one.version, one.state, one.status.error_code, one.status.error_message)
        for one in client.call("GetModelStatus", message).model_version_status
    ]


def test_a_server_that_starts_without_models(fleet: dict[str, Client], folder: Path) -> None:
    client = fleet["without"]
    x = np.array([2.0], np.float32)

    def models(*names: str) -> None:
        (folder / "without").write_text(model_config(*((name, folder / name, "") for name in names)))

    models("moved", "odd_method")
    wait_for(client, predict_request("moved", x=x), [3.0])
    named = "Expected prediction signature method_name to be one of {tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd"
    assert client.error("Predict", predict_request("odd_method", x=[[2.0]])) == ("INTERNAL", named)
    status, text = client.http("POST", "/v1/models/odd_method:predict", {"instances": [[2.0]]})
    assert (status, json.loads(text)["error"]) == (500, named)

    (folder / "moved").rename(folder / "elsewhere")  # versions are no longer looked for, of no model
    models("moved")
    end = time.monotonic() + 30
    while statuses(client, "odd_method") != [(1, END, 0, "")]:  # yet what is listed no more is unloaded
        assert time.monotonic() < end
        time.sleep(0.1)
    assert client.floats(predict_request("moved", x=x)) == [3.0]
    (folder / "elsewhere").rename(folder / "moved")

    models("moved", "cut")
    end = time.monotonic() + 30
    code = 0
    while code == 0:  # it is not known before it is found, and has no error before it is tried
        assert time.monotonic() < end
        time.sleep(0.1)
        with contextlib.suppress(grpc.RpcError):
            ((version, state, code, text),) = statuses(client, "cut")
    assert (version, state, code, text) == (1, END, 11, "Read less bytes than requested")


def test_a_reload_tells_by_how_much_it_raised_counters(fleet: dict[str, Client], folder: Path) -> None:
    client = fleet["batching"]
    half = ("half_plus_two", folder / "half_plus_two", "")

    def reload(*listed: tuple[str, Path, str], counters: tuple[str, ...] = ()) -> dict[str, int]:
        message = reload_request(model_config(*listed))
        message.metric_names.extend(counters)
        metrics = client.call("HandleReloadConfigRequest", message).metric
        return {one.name: one.int64_value_increase for one in metrics}

    shutil.copytree(folder / "second", folder / "a")  # the first of the paths, whose value is told
    other = ("other", folder / "a", "")
    assert reload(half, other) == {}
    reload(half)
    loads, latency = "/tensorflow/cc/saved_model/load_attempt_count", "/tensorflow/serving/request_latency"
    assert reload(half, other, counters=(loads, latency, "/none")) == {loads: 1, latency: 0, "/none": 0}
    reload(half)
    reload(half, ("other", folder / "versions", ""))
    assert statuses(client, "other") == [(5, END, 0, ""), (3, AVAILABLE, 0, "")]  # what ended is remembered


def test_a_file_that_is_not_polled(main: Client, folder: Path) -> None:
    text = (folder / "main").read_text()
    (folder / "main").write_text(model_config())
    try:
        time.sleep(2)
        assert main.floats(predict_request("half_plus_two", x=[[2.0]])) == [3.0]
    finally:
        (folder / "main").write_text(text)


def test_batching(fleet: dict[str, Client]) -> None:
    client = fleet["batching"]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda i: client.floats(predict_request("half_plus_two", x=[[2.0 * i]])), range(24)
        )
        assert list(answers) == [[i + 2.0] for i in range(24)]
    too_large = predict_request("half_plus_two", x=[[1.0]] * 5)
    assert client.error("Predict", too_large) == (
        "INVALID_ARGUMENT",
        "Task size 5 is larger than maximum input batch size 4",
    )
    _, page = client.http("GET", "/monitoring/prometheus/metrics")
    runs = [line for line in page.splitlines() if "batching_session:wrapped_run_count{" in line]
    assert len(runs) == 1
    assert 6 <= float(runs[0].split()[-1]) < 24
    sizes = ":tensorflow:serving:batching_session:input_batch_size_bucket{le="
    below = [line.split() for line in page.splitlines() if line.startswith(sizes)]
    assert below[0] == [f'{sizes}"1"}}', "0"]  # a limit counts in the next bucket
    assert int(below[1][1]) >= 24
