"""The camera's own Prometheus page."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import DetectionStream, StreamConfig
from client.sinks import SinkError
from client.sinks.metrics import Metrics
from tests.client.fakes import FakeModelServer, RelayThread
from tests.client.results import delivered, dropped, errored, frame
from tests.client.test_ledger import Skewed

STAGES = {"wait", "encode", "relay_queue", "predict", "relay_order", "post", "network"}


def page(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """The samples, by name and labels' values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "door" not in text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_stages_of_a_real_stream_add_up_to_its_age_whatever_the_cameras_clock_says() -> None:
    with FakeModelServer() as server, RelayThread(server.target) as relay, Metrics("127.0.0.1:0") as metrics:
        config = StreamConfig(max_age_s=30)
        with DetectionStream(Skewed(20, camera_id="door"), relay.target, config) as stream:
            for result in stream:
                metrics.write(result)
        seen = page(metrics)
    assert seen["sightline_camera_frames_total", "delivered", ""] == 20
    stages = {key[1] for key in seen if key[0] == "sightline_camera_stage_seconds_count"}
    assert stages == STAGES
    sums = [seen["sightline_camera_stage_seconds_sum", stage] for stage in stages]
    assert min(sums) >= 0
    assert sum(sums) == pytest.approx(seen[("sightline_camera_result_age_seconds_sum",)], abs=0.02)


def test_labels_are_bounded_whatever_the_other_end_says() -> None:
    with Metrics("127.0.0.1:0") as metrics:
        metrics.write(delivered(frame(1), stages_ms={"decode": 2.0}))
        metrics.write(dropped(frame(2)))
        metrics.write(errored(frame(3)))
        for number in range(100):
            metrics.write(errored(frame(number), f"E{number}: made up"))
        seen = page(metrics)
    frames = {key[1:]: value for key, value in seen.items() if key[0] == "sightline_camera_frames_total"}
    assert frames == {
        ("delivered", ""): 1, ("dropped", "expired"): 1, ("errored", "INVALID_ARGUMENT"): 1, ("errored", "other"): 100,
    }  # fmt: skip
    assert seen["sightline_camera_stage_seconds_sum", "decode"] == pytest.approx(0.002)


def test_a_taken_port_is_one_line_that_names_the_option() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SinkError, match=rf"^metrics: cannot listen on {where}: .*; choose .*--metrics$"):
            Metrics(where)
    with pytest.raises(ValueError, match="--metrics: expected host:port, got 'here'"):
        Metrics("here")
