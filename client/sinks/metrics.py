"""Prometheus at the camera: what became of its frames, their age and each stage of it, and what holds the age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import grpc
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from client.age_control import AgeControl
from client.channel import split_address
from client.errors import SinkError
from client.report import sum_accounts
from client.sinks.base import Sink
from client.types import Account, DropReason, Result, Status

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# As the relay's (client/relay/metrics.py), fine around the 0.2 s that results of live frames may be old.
_AGES_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
# Whoever answers may say anything as a reason; labels are these and "other".
_REASONS = frozenset(DropReason) | {code.name for code in grpc.StatusCode}


class Watched(Protocol):
    """A camera as the metrics see it: a DetectionStream, or the CameraReport of one."""

    @property
    def account(self) -> Account: ...
    @property
    def state(self) -> str: ...
    @property
    def control(self) -> AgeControl | None: ...
    @property
    def reconnects(self) -> int: ...
    @property
    def source_reconnects(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Timed:
    """What is observed of a delivered result."""

    age_s: float
    stages_ms: dict[str, float]


class Metrics(Sink[Timed]):
    """Serves http://`listen`/metrics for all cameras of the run together; no label carries a camera's name.

    Counts and states are those of `cameras()` at the moment of a scrape: captured = Σ frames + pending, always. Ages
    and stages are those of the delivered results that were written: spans of monotonic clocks, which no wall clock can
    corrupt. `listen`: host:port, port 0 takes a free one; `port` is the real one.

    Raises:
        SinkError: the port cannot be listened on.
        ValueError: `listen` is no host:port.
    """

    def __init__(self, listen: str, cameras: Callable[[], Sequence[Watched]]) -> None:
        host, port = split_address(listen, "metrics")
        registry = CollectorRegistry()
        registry.register(_Cameras(cameras))
        self._age = Histogram(
            "sightline_camera_result_age_seconds",
            "Age of delivered results, from capture until they were here.",
            buckets=_AGES_S,
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

    def prepare(self, result: Result) -> Timed | None:
        """Of each delivered result."""
        return Timed(result.age_s, result.stages_ms) if result.status is Status.DELIVERED else None

    def put(self, item: Timed) -> None:
        """Observe it."""
        self._age.observe(item.age_s)
        for stage, stage_ms in item.stages_ms.items():
            self._stage(stage).observe(stage_ms / 1e3)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Cameras(Collector):
    """The cameras' accounts and states, as they are when somebody asks."""

    def __init__(self, cameras: Callable[[], Sequence[Watched]]) -> None:
        self._cameras = cameras

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry shall not look at the cameras before there are any."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """For a scrape."""
        cameras = list(self._cameras())
        account = sum_accounts(camera.account for camera in cameras)
        yield CounterMetricFamily(
            "sightline_camera_frames_captured", "Frames that were captured.", account.captured
        )
        yield _frames(account)
        yield GaugeMetricFamily(
            "sightline_camera_pending_frames",
            "Frames without a result yet.",
            account.captured - account.settled,
        )
        yield CounterMetricFamily(
            "sightline_camera_late_results",
            "Delivered results older than their camera's max age.",
            account.late,
        )
        again = CounterMetricFamily(
            "sightline_camera_reconnects",
            "Times that a camera's source came back, and connections to the relay or server after the first.",
            labels=("to",),
        )
        again.add_metric(("source",), sum(camera.source_reconnects for camera in cameras))
        again.add_metric(("target",), sum(camera.reconnects for camera in cameras))
        yield again
        states = GaugeMetricFamily("sightline_cameras", "Cameras by what they are doing.", labels=("state",))
        for state, count in Counter(str(camera.state) for camera in cameras).items():
            states.add_metric((state,), count)
        yield states
        controls = [camera.control for camera in cameras if camera.control is not None]
        yield _spread(
            "window_frames", "Frames in flight that a camera may have.", [c.window for c in controls]
        )
        yield _spread(
            "detail_ratio", "Share of a picture's bytes that is sent.", [c.detail for c in controls]
        )


def _frames(account: Account) -> CounterMetricFamily:
    """Captured frames by their fate."""
    family = CounterMetricFamily(
        "sightline_camera_frames",
        "Captured frames by what became of them; reason is why dropped, or the gRPC code of an error.",
        labels=("outcome", "reason"),
    )
    family.add_metric(("delivered", ""), account.delivered)
    for outcome, counts in (("errored", account.codes), ("dropped", account.dropped)):
        known: Counter[str] = Counter()
        for reason, count in counts.items():
            known[reason if reason in _REASONS else "other"] += count
        for reason, count in known.items():
            family.add_metric((outcome, reason), count)
    return family


def _spread(name: str, text: str, values: Sequence[float]) -> GaugeMetricFamily:
    """The least and the mean over the cameras that stream."""
    family = GaugeMetricFamily(f"sightline_camera_{name}", text, labels=("statistic",))
    if values:
        family.add_metric(("min",), min(values))
        family.add_metric(("mean",), sum(values) / len(values))
    return family
