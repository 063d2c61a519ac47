"""The server's metrics in one prometheus-client registry, with TF Serving's names, labels, buckets and text.

TF Serving's names begin with a colon and its counters have no `_total`; prometheus-client's own text output
would rename them, so the page is written here. Our own additions are named `sightline_…`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from model.counts import Counter, Histogram
from serving.errors import Code, ServingError

LATENCY_BUCKETS_US = tuple(10 * 1.8**i for i in range(33))
SIZE_BUCKETS = tuple(float(1 << i) for i in range(14))
MAX_UNKNOWN_MODELS = 200  # a client may ask for any name; past these they are counted together
OTHER_MODELS = "(other)"
T = TypeVar("T")


class Metrics:
    """All metrics of one server. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, *labels: str) -> Counter:
            return Counter(name, labels, registry)

        def latency(name: str, *labels: str) -> Histogram:
            return Histogram(name, labels, LATENCY_BUCKETS_US, registry, exclusive=True)

        self._requests = counter(":tensorflow:serving:request_count", "model_name", "status")
        self._request_us = latency(":tensorflow:serving:request_latency", "model_name", "API", "entrypoint")
        self._runtime_us = latency(":tensorflow:serving:runtime_latency", "model_name", "API", "runtime")
        self._warmup_us = latency(":tensorflow:serving:model_warmup_latency", "model_path", "status")
        self._loads = counter(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self._load_us = counter(":tensorflow:cc:saved_model:load_latency", "model_path")
        self._graph_runs = counter(":tensorflow:core:graph_runs")
        self._graph_us = counter(":tensorflow:core:graph_run_time_usecs")
        self._unknown: set[str] = set()

    def model_label(self, name: str, known: bool) -> str:
        """The label for a model's name; the number of names that are not configured is bounded."""
        if known or name in self._unknown:
            return name
        if len(self._unknown) >= MAX_UNKNOWN_MODELS:
            return OTHER_MODELS
        self._unknown.add(name)
        return name

    def count_request(self, model: str, status: str) -> None:
        """One request ended with the canonical code `status`, such as OK or NOT_FOUND."""
        self._requests.inc(model, status)

    def observe_request(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """A request succeeded: `Predict` over `GRPC`, or `predict` over `REST`; `api` is empty for REST's GETs."""
        self._request_us.observe(seconds * 1e6, model, api, entrypoint)

    def counted(
        self, model: str, api: str, entrypoint: str, start: float, run: Callable[[], T]
    ) -> tuple[T, float]:
        """Answer a request that came at `start` (time.perf_counter()) and count how it ends: the answer, and seconds.

        What `run` raises passes, counted by its code, INTERNAL if it has none.
        """
        try:
            answer = run()
        except Exception as error:
            code = error.code if isinstance(error, ServingError) else Code.INTERNAL
            self.count_request(model, code.name)
            raise
        seconds = time.perf_counter() - start
        self.count_request(model, Code.OK.name)
        self.observe_request(model, api, entrypoint, seconds)
        return answer, seconds

    def observe_run(self, model: str, seconds: float, api: str = "Predict") -> None:
        """A session run succeeded."""
        self._runtime_us.observe(seconds * 1e6, model, api, "TF1")
        self._graph_runs.inc()
        self._graph_us.inc(by=int(seconds * 1e6))

    def observe_load(self, path: str, status: str, seconds: float) -> None:
        """A SavedModel was loaded: status `success` or `fail`."""
        self._loads.inc(path, status)
        self._load_us.inc(path, by=int(seconds * 1e6))

    def observe_warmup(self, path: str, status: str, seconds: float) -> None:
        """Warm-up requests were replayed: status `OK`, or why the rest of them could not be read."""
        self._warmup_us.observe(seconds * 1e6, path, status)

    def counters(self, names: Iterable[str]) -> dict[str, int]:
        """For each name, as TensorFlow has it (with slashes), the first value of that counter; 0: there is none."""
        values = dict.fromkeys(names, 0)
        for family in self.registry.collect() if values else ():
            name = family.name.replace(":", "/")
            if name in values and family.type == "counter" and family.samples:
                first = min(family.samples, key=lambda sample: tuple(sample.labels.values()))
                values[name] = int(first.value)
        return values

    def page(self) -> str:
        """The metrics' page, as TF Serving writes it: `# TYPE` lines and samples, nothing else."""
        lines: list[str] = []
        for family in self.registry.collect():
            lines.append(f"# TYPE {family.name} {family.type}")
            lines.extend(_lines(family.name, family.samples))
        return "\n".join(lines) + "\n"


class BatchMetrics:
    """What TF Serving's batching session counts; made only when there is batching."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            full = f":tensorflow:serving:batching_session:{name}"
            return Histogram(full, labels, buckets, registry, exclusive=True)

        self.queuing_us = histogram("queuing_latency", LATENCY_BUCKETS_US, "thread_pool_name")
        self.input_batch_size = histogram("input_batch_size", SIZE_BUCKETS)
        self.processed_batch_size = histogram("processed_batch_size", SIZE_BUCKETS)
        self.padding_size = histogram("padding_size", SIZE_BUCKETS, "execution_batch_size")
        self.wrapped_run_count = Counter(
            ":tensorflow:serving:batching_session:wrapped_run_count", (), registry
        )


def _lines(family: str, samples: Iterable[Sample]) -> Iterable[str]:
    for sample in samples:
        if sample.name.endswith("_created"):
            continue
        name = family if sample.name == f"{family}_total" else sample.name
        labels = ",".join(f'{key}="{_label(key, value)}"' for key, value in sample.labels.items())
        value = int(sample.value) if sample.value == int(sample.value) else f"{sample.value:.6g}"
        yield f"{name}{{{labels}}} {value}"


def _label(key: str, value: str) -> str:
    """A label's value, escaped; bucket limits in six digits, as absl prints a double."""
    if key == "le" and value != "+Inf":
        return f"{float(value):g}"
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
