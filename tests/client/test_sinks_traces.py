"""Traces, sent to a collector that speaks OTLP."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from client.sinks import QueuedSink
from client.sinks.traces import BATCH, Traces
from client.types import Result
from tests.client.results import UNIX_NS, delivered, detections, dropped, errored, frame

STAGES_MS = {"decode": 1.0, "wait": 2.0, "encode": 3.0, "relay_queue": 4.0, "predict": 30.0, "network": 10.0}


class Collector(TraceServiceServicer):
    """Keeps the spans that it is sent, by name."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(names["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return otlp.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{running.port}")
        yield running


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def traced(*results: Result) -> QueuedSink[Any]:
    queued = QueuedSink(Traces(), 1000)
    for result in results:
        queued.write(result)
    queued.close()
    return queued


def test_a_frame_is_a_span_with_its_stages_inside(collector: Collector) -> None:
    found = detections(("person", 0, 0.9, (0, 0, 1, 1)))
    queued = traced(delivered(frame(7), found, stages_ms=STAGES_MS, age_s=0.05))
    (root,) = collector.named("frame")
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (UNIX_NS, UNIX_NS + 50_000_000)
    assert attributes(root) == {
        "sightline.camera": "door", "sightline.frame_id": 7, "sightline.status": "delivered",
        "sightline.model": "yolov8", "sightline.version": 1, "sightline.detections": 1,
    }  # fmt: skip
    start = UNIX_NS
    for name, ms in STAGES_MS.items():
        (span,) = collector.named(name)
        assert span.parent_span_id == root.span_id
        assert span.trace_id == root.trace_id
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start, start + round(ms * 1e6))
        start += round(ms * 1e6)
    assert collector.services == {"sightline"}
    assert (queued.written, queued.dropped.total(), queued.error) == (1, 0, None)


def test_lost_frames_have_spans_too(collector: Collector) -> None:
    traced(dropped(frame(1)), errored(frame(2), "INVALID_ARGUMENT: no JPEG"))
    lost, failed = collector.named("frame")
    assert attributes(lost)["sightline.reason"] == "expired"
    assert failed.status.message == "INVALID_ARGUMENT: no JPEG"
    assert lost.trace_id != failed.trace_id


def test_many_frames_are_exported_in_batches(collector: Collector) -> None:
    queued = traced(*(delivered(frame(number), stages_ms=STAGES_MS) for number in range(2 * BATCH + 10)))
    assert len(collector.named("frame")) == queued.written == 2 * BATCH + 10


def test_a_collector_that_is_not_there_costs_spans_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("client.sinks.traces.TIMEOUT_S", 0.3)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    queued = traced(*(delivered(frame(number)) for number in range(BATCH + 5)))
    assert time.monotonic() - started < 5
    assert (queued.written, queued.dropped) == (0, {"undelivered": BATCH + 5})
    assert queued.error == "OpenTelemetry: nothing was delivered: the collector does not take them"
    assert capfd.readouterr().err == ""
