"""OpenTelemetry traces: a span for each frame, and in it one for each stage of its ledger. Needs the extra `otel`."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode, set_span_in_context

from client.sinks.base import Lost, Sink
from client.types import Result, Status

BATCH, EVERY_S = 256, 1.0  # results that are exported together, at the latest after so long
TIMEOUT_S = 5.0  # of an export, its repetitions included


@dataclass(frozen=True, slots=True)
class Timed:
    """What spans are made of. Times are nanoseconds since 1970, by the camera's clock."""

    start_ns: int
    end_ns: int
    attributes: dict[str, str | int]
    failure: str  # why the frame errored, if it did
    stages_ms: dict[str, float]


class Traces(Sink[Timed]):
    """Exports over OTLP/gRPC to where OTEL_EXPORTER_OTLP_ENDPOINT says (http://localhost:4317), as OTEL_* set it up.

    A span `frame` lasts from capture until the result was there. The stages follow each other in it as the ledger
    lists them; `network`, the way there and back, is one of them. No clock but the camera's goes into them.
    """

    name = "OpenTelemetry"

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        # What cannot be exported is counted by the queue that this sink is behind, not written to the terminal.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        self._exporter = exporter or OTLPSpanExporter(timeout=TIMEOUT_S)
        self._ended = _Ended()
        provider = TracerProvider(
            resource=Resource.create({"service.name": "sightline"}), shutdown_on_exit=False
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("sightline")
        self._results, self._exported_s = 0, time.monotonic()

    def prepare(self, result: Result) -> Timed:
        """Of every result, delivered or not."""
        frame = result.frame
        attributes: dict[str, str | int] = {
            "sightline.camera": frame.camera_id, "sightline.frame_id": frame.frame_id,
            "sightline.status": str(result.status),
        }  # fmt: skip
        if result.status is Status.DELIVERED and result.detections is not None:
            attributes["sightline.model"] = result.model_name
            attributes["sightline.version"] = result.model_version
            attributes["sightline.detections"] = len(result.detections)
        elif result.status is Status.DROPPED:
            attributes["sightline.reason"] = str(result.reason)
        start_ns = frame.captured_unix_ns
        end_ns = start_ns + round(result.age_s * 1e9)
        return Timed(start_ns, end_ns, attributes, result.error or "", result.stages_ms)

    def put(self, item: Timed) -> None:
        """Make the spans; export them once there are enough."""
        root = self._tracer.start_span("frame", start_time=item.start_ns, attributes=item.attributes)
        context, start_ns = set_span_in_context(root), item.start_ns
        for name, stage_ms in item.stages_ms.items():
            end_ns = min(start_ns + round(stage_ms * 1e6), item.end_ns)
            self._tracer.start_span(name, context, start_time=start_ns).end(end_ns)
            start_ns = end_ns
        if item.failure:
            root.set_status(StatusCode.ERROR, item.failure)
        root.end(item.end_ns)
        self._results += 1
        if self._results >= BATCH or time.monotonic() - self._exported_s >= EVERY_S:
            self._export()

    def close(self) -> None:
        try:
            self._export()
        finally:
            self._exporter.shutdown()

    def _export(self) -> None:
        """Raises Lost."""
        spans, results = self._ended.take(), self._results
        self._results, self._exported_s = 0, time.monotonic()
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise Lost("the collector does not take them", results)


class _Ended(SpanProcessor):
    """Keeps the spans that ended, until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans
