"""The relay's Prometheus metrics. No label carries a camera's name, so their number does not grow with cameras."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from client.wire import relay_pb2 as pb

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Fine where live frames are: they live 0.2 s unless told otherwise.
_AGES_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
MAX_VERSIONS = 32  # labels a server could make up; later ones are counted as "other"


class RelayMetrics:
    """Counts of one relay, in a registry of its own. Conservation: received = Σ frames + pending, at any moment."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # CPU seconds, memory, descriptors
        self.received = Counter(
            "sightline_relay_frames_received", "Frames that arrived.", registry=self.registry
        )
        self._frames = Counter(
            "sightline_relay_frames",
            "Frames by what became of them; reason is why dropped, or the gRPC code of an error.",
            ("outcome", "reason"),
            registry=self.registry,
        )
        self._served = Counter(
            "sightline_relay_served",
            "Delivered frames by the model version that served them.",
            ("model_version",),
            registry=self.registry,
        )
        self._stages = Histogram(
            "sightline_relay_stage_seconds",
            "Time at the relay: queue (arrival to Predict), predict, post (its answer made a result), order (behind "
            "earlier frames), total; of predict, where the server tells: mesh (the way there and back), server, infer.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._age = Histogram(
            "sightline_relay_result_age_seconds",
            "Age of live frames' delivered results, from capture; without the way from camera to relay and back.",
            buckets=_AGES_S,
            registry=self.registry,
        )
        self._answer_age = Histogram(
            "sightline_relay_answer_age_seconds",
            "Age of live frames when their answer came from a model version, also of those that had expired meanwhile.",
            ("model_version",),
            buckets=_AGES_S,
            registry=self.registry,
        )
        self._queue, self._predict, self._post, self._order, self._total = (
            self._stages.labels(s) for s in ("queue", "predict", "post", "order", "total")
        )
        self._mesh, self._server, self._infer = (self._stages.labels(s) for s in ("mesh", "server", "infer"))
        self.pending = self._gauge("pending_frames", "Frames without a result yet.")
        self.in_flight = self._gauge("predicts_in_flight", "Predicts under way.")
        self.in_flight_limit = self._gauge("in_flight_limit", "Predicts that are useful at once, as found.")
        self.late = Counter(
            "sightline_relay_late_predicts",
            "Predicts that ended after their frame had expired, by how: answered, refused, lost (never answered).",
            ("outcome",),
            registry=self.registry,
        )
        self.waiting = self._gauge("waiting_cameras", "Cameras whose frame waits for the model server.")
        self.streams = self._gauge("streams", "Streams that are open.")
        self.model_available = self._gauge("model_available", "1 while the model server says AVAILABLE.")
        self._versions: set[int] = set()
        # `labels` takes longer than to count; its arguments are few here.
        self._outcome = cache(self._frames.labels)
        self._served_by = cache(self._served.labels)
        self._answered_by = cache(self._answer_age.labels)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"sightline_relay_{name}", text, registry=self.registry)

    def sent(self, result: pb.Result, code_name: str, age_s: float | None) -> None:
        """Count a result that its camera has been told. `code_name`: of an error's gRPC code. `age_s`: of its frame;
        None: a file's, which waits for its turn, so that its age says nothing."""
        timings = result.timings
        if result.HasField("delivered"):
            self._outcome("delivered", "").inc()
            self._served_by(self._version_label(result.delivered.model_version)).inc()
            self._predict.observe(timings.predict_us / 1e6)
            if timings.server_us:
                self._mesh.observe((timings.predict_us - timings.server_us) / 1e6)
                self._server.observe((timings.server_us - timings.infer_us) / 1e6)
                self._infer.observe(timings.infer_us / 1e6)
            self._post.observe(timings.post_us / 1e6)
            waited_us = timings.relay_total_us - timings.relay_queue_us - timings.predict_us - timings.post_us
            self._order.observe(max(0, waited_us) / 1e6)
            if age_s is not None:
                self._age.observe(age_s)
        elif result.HasField("error"):
            self._outcome("errored", code_name).inc()
        else:
            self._outcome("dropped", result.dropped.reason).inc()
        self._queue.observe(timings.relay_queue_us / 1e6)
        self._total.observe(timings.relay_total_us / 1e6)

    def answered(self, model_version: int, age_s: float) -> None:
        """Count an answer to a live frame, in time or not."""
        self._answered_by(self._version_label(model_version)).observe(age_s)

    def lost(self, count: int) -> None:
        """Count frames whose camera went away before it could be told their results."""
        if count:
            self._outcome("dropped", "disconnected").inc(count)

    def _version_label(self, version: int) -> str:
        if version not in self._versions:
            if len(self._versions) >= MAX_VERSIONS:
                return "other"
            self._versions.add(version)
        return str(version)
