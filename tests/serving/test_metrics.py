from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.metrics import MAX_UNKNOWN_MODELS, Metrics
from serving.models import ModelManager
from serving.predict import Predictor
from serving.rest import RestApp, RestOptions
from serving.servable import LoadOptions
from serving.servicer import Servicer
from tests.serving.conftest import Server
from tests.serving.test_fuzz import Context
from tests.serving.test_grpc import predict, request

PATH = "/monitoring/prometheus/metrics"


def value(page: str, sample: str) -> int:
    (found,) = re.findall(rf"^{re.escape(sample)} (\d+)$", page, re.MULTILINE)
    return int(found)


def test_counts_are_true_under_concurrency(start: Callable[..., Server], model_dir: Path) -> None:
    server = start("--model_name=m", f"--model_base_path={model_dir / 'affine'}", "--grpc_max_threads=64")

    def call() -> None:
        for _ in range(25):
            predict(server, request("m", x=[1.0]))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(grpc.RpcError):
        predict(server, request("none", x=[1.0]))
    server.http("POST", "/v1/models/m:predict", '{"instances": [1]}')
    server.http("GET", "/v1/models/m")
    status, page = server.http("GET", PATH)
    assert status == 200
    name = ":tensorflow:serving:request_count"
    assert value(page, f'{name}{{model_name="m",status="OK"}}') == 202  # REST calls for the status count too
    assert value(page, f'{name}{{model_name="none",status="NOT_FOUND"}}') == 1
    latency = ":tensorflow:serving:request_latency"
    assert value(page, f'{latency}_count{{model_name="m",API="Predict",entrypoint="GRPC"}}') == 200
    assert value(page, f'{latency}_count{{model_name="m",API="predict",entrypoint="REST"}}') == 1
    run = ":tensorflow:serving:runtime_latency"
    assert value(page, f'{run}_count{{model_name="m",API="Predict",runtime="TF1"}}') == 201
    assert value(page, ":tensorflow:core:graph_runs{}") == 201
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert value(page, f'{loads}{{model_path="{model_dir / "affine" / "1"}",status="success"}}') == 1


def test_the_page_is_tf_servings_text() -> None:
    metrics = Metrics()
    metrics.count_request('a"\\\n', "OK")
    metrics.observe_request("m", "Predict", "GRPC", 0.00002)
    page = metrics.page()
    lines = page.splitlines()
    assert page.endswith("\n")
    assert all(line.startswith(("# TYPE ", ":tensorflow:")) for line in lines)
    assert not any("_total" in line or "_created" in line for line in lines)
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="a\\"\\\\\\n",status="OK"} 1' in lines
    buckets = [line for line in lines if line.startswith(":tensorflow:serving:request_latency_bucket{")]
    assert len(buckets) == 34
    labels = 'model_name="m",API="Predict",entrypoint="GRPC",le='
    assert buckets[0] == f':tensorflow:serving:request_latency_bucket{{{labels}"10"}} 0'
    assert buckets[2] == f':tensorflow:serving:request_latency_bucket{{{labels}"32.4"}} 1'
    assert buckets[-1] == f':tensorflow:serving:request_latency_bucket{{{labels}"+Inf"}} 1'


def test_a_value_at_a_limit_counts_above_it() -> None:
    metrics = Metrics()
    metrics.observe_request("m", "Predict", "GRPC", 10e-6)
    labels = 'model_name="m",API="Predict",entrypoint="GRPC",le='
    buckets = f":tensorflow:serving:request_latency_bucket{{{labels}"
    assert [f'{buckets}"10"}} 0', f'{buckets}"18"}} 1'] == [
        line for line in metrics.page().splitlines() if line.startswith(buckets)
    ][:2]


def test_counters_by_tensorflows_names() -> None:
    metrics = Metrics()
    for path in ("/b", "/a"):
        metrics.observe_load(path, "success", 0.5)
    metrics.observe_load("/a", "success", 0.5)
    metrics.observe_request("m", "Predict", "GRPC", 1.0)
    loads, latency = "/tensorflow/cc/saved_model/load_attempt_count", "/tensorflow/serving/request_latency"
    assert metrics.counters([loads, latency, "/none", loads]) == {loads: 2, latency: 0, "/none": 0}


def test_made_up_model_names_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    labels: set[Any] = {metrics.model_label(f"name{i}", known=False) for i in range(2 * MAX_UNKNOWN_MODELS)}
    assert len(labels) == MAX_UNKNOWN_MODELS + 1
    assert metrics.model_label("real", known=True) == "real"


def test_an_internal_error_is_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    metrics = Metrics()
    manager = ModelManager(LoadOptions(), None, metrics)
    monkeypatch.setattr(manager, "find", broken)
    predictor = Predictor(manager, metrics)
    with pytest.raises(RuntimeError):
        Servicer(predictor, metrics).predict(request("m", x=[1.0]).SerializeToString(), Context())
    rest = RestApp(RestOptions(1, 10.0), predictor, metrics)
    assert rest.answer("POST", "/v1/models/m:predict", b'{"instances": [1]}').status == 500
    page = metrics.page()
    assert value(page, ':tensorflow:serving:request_count{model_name="m",status="INTERNAL"}') == 2
    assert 'status="OK"' not in page


def test_metrics_are_off_without_a_config(
    start: Callable[..., Server], model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "off").write_text("")
    server = start(
        f"--model_base_path={model_dir / 'affine'}", f"--monitoring_config_file={tmp_path / 'off'}"
    )
    assert server.http("GET", PATH)[0] == 404
