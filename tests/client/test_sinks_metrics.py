"""The camera's own Prometheus page."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import DetectionStream, StreamConfig
from client.age_control import AgeControl
from client.detect_config import MAX_AGE_S
from client.relay import metrics as relay_metrics
from client.report import CameraReport
from client.sinks import SinkError
from client.sinks import metrics as camera_metrics
from client.sinks.metrics import Metrics
from client.tally import Tally
from client.types import MAX_REASONS, Account, Result, Status
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread
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
    streams: list[DetectionStream] = []
    with (
        FakeModelServer() as server,
        RelayThread(server.target) as relay,
        Metrics("127.0.0.1:0", lambda: streams) as metrics,
    ):
        config = StreamConfig(max_age_s=30)
        with DetectionStream(Skewed(20, camera_id="door"), relay.target, config) as stream:
            streams.append(stream)
            for result in stream:
                metrics.write(result)
        seen = page(metrics)
    assert_adds_up(seen)
    assert seen["sightline_camera_frames_total", "delivered", ""] == 20
    stages = {key[1] for key in seen if key[0] == "sightline_camera_stage_seconds_count"}
    assert stages == STAGES
    sums = [seen["sightline_camera_stage_seconds_sum", stage] for stage in stages]
    assert min(sums) >= 0
    assert sum(sums) == pytest.approx(seen[("sightline_camera_result_age_seconds_sum",)], abs=0.02)


def test_labels_are_bounded_whatever_the_other_end_says() -> None:
    camera = CameraReport("door", "0", "streaming", Account(captured=205), Tally())
    with Metrics("127.0.0.1:0", lambda: [camera]) as metrics:
        made_up = (errored(frame(), f"E{number}: made up") for number in range(100))
        lost = (Result(frame(), Status.DROPPED, 0.1, reason=f"r{number}") for number in range(100))
        first = delivered(frame(1), stages_ms={"decode": 2.0})
        for result in (first, dropped(frame(2)), errored(frame(3)), *made_up, *lost):
            camera.account.add(result)
            metrics.write(result)
        seen = page(metrics)
    frames = {key[1:]: value for key, value in seen.items() if key[0] == "sightline_camera_frames_total"}
    assert frames == {
        ("delivered", ""): 1, ("dropped", "expired"): 1, ("errored", "INVALID_ARGUMENT"): 1, ("errored", "other"): 100,
        ("dropped", "other"): 100,
    }  # fmt: skip
    assert_adds_up(seen)
    assert seen[("sightline_camera_pending_frames",)] == 2
    assert len(camera.account.codes) <= MAX_REASONS + 1  # nobody fills our memory
    assert len(camera.account.dropped) <= MAX_REASONS + 1
    assert seen["sightline_camera_stage_seconds_sum", "decode"] == pytest.approx(0.002)


def assert_adds_up(seen: dict[tuple[str, ...], float]) -> None:
    fates = sum(value for key, value in seen.items() if key[0] == "sightline_camera_frames_total")
    pending = seen[("sightline_camera_pending_frames",)]
    assert pending >= 0
    assert seen[("sightline_camera_frames_captured_total",)] == fates + pending


def test_frames_add_up_at_every_moment_of_a_stream() -> None:
    source = NumberSource(None, live=True, interval_s=0.002, camera_id="door")
    with (
        FakeModelServer(latency_s=0.01) as server,
        RelayThread(server.target) as relay,
        DetectionStream(source, relay.target, StreamConfig(max_age_s=0.05)) as stream,
        Metrics("127.0.0.1:0", lambda: [stream]) as metrics,
    ):
        pending = []
        for number, result in enumerate(stream):
            metrics.write(result)
            if number % 10 == 0:
                seen = page(metrics)
                assert_adds_up(seen)
                pending.append(seen[("sightline_camera_pending_frames",)])
            if number == 200:
                break
        assert max(pending) > 0
        assert seen["sightline_cameras", "streaming"] == 1


def test_a_fleets_states_controls_and_reconnects() -> None:
    cameras = []
    for state, window, detail, again in (
        ("streaming", 2, 1.0, 1),
        ("streaming", 4, 0.5, 0),
        ("backing off", 0, 0, 2),
    ):
        control = AgeControl(0.2, window, fixed=False, adapt=True) if window else None
        if control is not None:
            control.detail = detail
        account = Account(captured=5, delivered=5, late=again)
        cameras.append(
            CameraReport(
                "door", "0", state, account, Tally(), control=control, reconnects=again, source_reconnects=1
            )
        )
    with Metrics("127.0.0.1:0", lambda: cameras) as metrics:
        seen = page(metrics)
    assert seen["sightline_cameras", "streaming"] == 2
    assert seen["sightline_cameras", "backing off"] == 1
    assert (
        seen["sightline_camera_window_frames", "min"],
        seen["sightline_camera_window_frames", "mean"],
    ) == (2, 3)
    assert (seen["sightline_camera_detail_ratio", "min"], seen["sightline_camera_detail_ratio", "mean"]) == (
        0.5,
        0.75,
    )
    assert seen["sightline_camera_reconnects_total", "target"] == 3
    assert seen["sightline_camera_reconnects_total", "source"] == 3
    assert seen[("sightline_camera_late_results_total",)] == 3


def test_the_default_max_age_can_be_read_from_the_ages() -> None:
    with Metrics("127.0.0.1:0", list) as metrics:
        for age_s in (0.19, 0.199, 0.21):
            metrics.write(delivered(frame(), age_s=age_s))
        seen = page(metrics)
    assert seen["sightline_camera_result_age_seconds_bucket", str(MAX_AGE_S)] == 2
    assert camera_metrics._AGES_S == relay_metrics._AGES_S


def test_a_taken_port_is_one_line_that_names_the_option() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SinkError, match=rf"^metrics: cannot listen on {where}: .*; choose .*--metrics$"):
            Metrics(where, list)
    with pytest.raises(ValueError, match="--metrics: expected host:port, got 'here'"):
        Metrics("here", list)
