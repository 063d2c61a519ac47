"""The relay's Prometheus metrics. No label carries a camera's name, so their number does not grow with cameras."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from client.types import Account
from client.wire import relay_pb2 as pb
from model.counts import Counter, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Fine where live frames are: they live 0.2 s unless told otherwise.
_AGES_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
MAX_VERSIONS = 32  # labels a server could make up; later ones are counted as "other"


class RelayMetrics:
    """Counts of one relay, in a registry of its own. Conservation: received = Σ frames + pending, at any moment."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # CPU seconds, memory, descriptors
        self.received = self._counter("frames_received", "Frames that arrived.")
        self._frames = self._counter(
            "frames",
            "Frames by what became of them; reason is why dropped, or the gRPC code of an error.",
            "outcome",
            "reason",
        )
        self._served = self._counter(
            "served", "Delivered frames by the model version that served them.", "model_version"
        )
        self._stage = self._histogram(
            "stage_seconds",
            "Time at the relay: queue (arrival to Predict), predict, post (its answer made a result), order (behind "
            "earlier frames), total; of predict, where the server tells: mesh (the way there and back), server, infer.",
            _SECONDS,
            "stage",
        )
        self._age = self._histogram(
            "result_age_seconds",
            "Age of live frames' delivered results, from capture; without the way from camera to relay and back.",
            _AGES_S,
        )
        self._answer_age = self._histogram(
            "answer_age_seconds",
            "Age of live frames when their answer came from a model version, also of those that had expired meanwhile.",
            _AGES_S,
            "model_version",
        )
        self.pending = 0  # counted twice for each frame: a Gauge would take a lock and 14 lines for it
        self._gauge("pending_frames", "Frames without a result yet.").set_function(lambda: self.pending)
        self.in_flight = self._gauge("predicts_in_flight", "Predicts under way.")
        self.in_flight_limit = self._gauge("in_flight_limit", "Predicts that are useful at once, as found.")
        self.late = self._counter(
            "late_predicts",
            "Predicts that ended after their frame had expired, by how: answered, refused, lost (never answered).",
            "outcome",
        )
        self.waiting = self._gauge("waiting_cameras", "Cameras whose frame waits for the model server.")
        self.streams = self._gauge("streams", "Streams that are open.")
        self.model_available = self._gauge("model_available", "1 while the model server says AVAILABLE.")
        self._versions: set[int] = set()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sightline_relay_{name}", labels, self.registry, text)

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"sightline_relay_{name}", labels, bounds, self.registry, text)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"sightline_relay_{name}", text, registry=self.registry)

    def sent(self, result: pb.Result, code_name: str, age_s: float | None) -> None:
        """Count a result that its camera has been told. `code_name`: of an error's gRPC code. `age_s`: of its frame;
        None: a file's, which waits for its turn, so that its age says nothing."""
        timings, observe = result.timings, self._stage.observe
        queue_us, total_us = timings.relay_queue_us, timings.relay_total_us
        if result.HasField("delivered"):
            self._frames.inc("delivered", "")
            self._served.inc(self._version_label(result.delivered.model_version))
            predict_us, server_us, post_us = timings.predict_us, timings.server_us, timings.post_us
            observe(predict_us / 1e6, "predict")
            if server_us:
                infer_us = timings.infer_us
                observe((predict_us - server_us) / 1e6, "mesh")
                observe((server_us - infer_us) / 1e6, "server")
                observe(infer_us / 1e6, "infer")
            observe(post_us / 1e6, "post")
            observe(max(0, total_us - queue_us - predict_us - post_us) / 1e6, "order")
            if age_s is not None:
                self._age.observe(age_s)
        elif result.HasField("error"):
            self._frames.inc("errored", code_name)
        else:
            self._frames.inc("dropped", result.dropped.reason)
        observe(queue_us / 1e6, "queue")
        observe(total_us / 1e6, "total")

    def answered(self, model_version: int, age_s: float) -> None:
        """Count an answer to a live frame, in time or not."""
        self._answer_age.observe(age_s, self._version_label(model_version))

    def lost(self, count: int) -> None:
        """Count frames whose camera went away before it could be told their results."""
        if count:
            self._frames.inc("dropped", "disconnected", by=count)

    @property
    def account(self) -> Account:
        """What became of the frames that arrived."""
        account = Account()
        for counter in (self.received, self._frames):
            for sample in (sample for family in counter.collect() for sample in family.samples):
                outcome, count = sample.labels.get("outcome", "captured"), int(sample.value)
                if outcome == "dropped":
                    account.dropped[sample.labels["reason"]] += count
                else:
                    setattr(account, outcome, getattr(account, outcome) + count)
        return account

    def _version_label(self, version: int) -> str:
        if version not in self._versions:
            if len(self._versions) >= MAX_VERSIONS:
                return "other"
            self._versions.add(version)
        return str(version)
