"""Prometheus at the camera: what became of its frames, their age, and each stage of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from client.channel import split_address
from client.errors import SinkError
from client.sinks.base import Sink
from client.types import DropReason, Result, Status

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Whoever answers may say anything as a reason; labels are these and "other".
_REASONS = frozenset(DropReason) | {code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted of a result."""

    outcome: str
    reason: str
    age_s: float
    stages_ms: dict[str, float]


class Metrics(Sink[Counted]):
    """Serves http://`listen`/metrics for all cameras of the run together; no label carries a camera's name.

    Ages and stages are those of delivered results: spans of monotonic clocks, which no wall clock can corrupt.
    `listen`: host:port, port 0 takes a free one; `port` is the real one.

    Raises:
        SinkError: the port cannot be listened on.
        ValueError: `listen` is no host:port.
    """

    def __init__(self, listen: str) -> None:
        host, port = split_address(listen, "metrics")
        registry = CollectorRegistry()
        self._frames = Counter(
            "sightline_camera_frames",
            "Captured frames by what became of them; reason is why dropped, or the gRPC code of an error.",
            ("outcome", "reason"),
            registry=registry,
        )
        self._age = Histogram(
            "sightline_camera_result_age_seconds",
            "Age of delivered results, from capture until they were here.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "sightline_camera_stage_seconds",
            "Parts of delivered results' age, which add up to it (docs/streaming.md lists them).",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage = cache(self._stages.labels)
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            raise SinkError(
                f"metrics: cannot listen on {listen}: {error.strerror}; choose another with --metrics"
            ) from None
        self.port = int(self._server.server_port)
        shown = f"[{host}]" if ":" in host else host
        self._url = f"http://{shown}:{self.port}/metrics"

    @property
    def name(self) -> str:
        return self._url

    def prepare(self, result: Result) -> Counted:
        """Of every result, delivered or not."""
        reason = ""
        if result.status is Status.DROPPED:
            reason = str(result.reason)
        elif result.status is Status.ERRORED:
            reason = (result.error or "").partition(":")[0]
        if reason and reason not in _REASONS:
            reason = "other"
        return Counted(str(result.status), reason, result.age_s, result.stages_ms)

    def put(self, item: Counted) -> None:
        """Count it."""
        self._frames.labels(item.outcome, item.reason).inc()
        if item.outcome == Status.DELIVERED:
            self._age.observe(item.age_s)
            for stage, stage_ms in item.stages_ms.items():
                self._stage(stage).observe(stage_ms / 1e3)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
