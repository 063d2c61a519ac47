"""One version: loaded, warmed, and batched where asked."""

from __future__ import annotations

import time

from serving import batching_config, lite, sessions, warmup
from serving.batching import BatchedModel
from serving.batching_config import BatchingOptions
from serving.metrics import BatchMetrics, Metrics
from serving.servable import LoadOptions, Runnable


class Loader:
    """Loads versions by the server's flags, and counts."""

    def __init__(self, options: LoadOptions, metrics: Metrics, batching: BatchingOptions | None) -> None:
        self._options = options
        self._metrics = metrics
        self._batching = batching
        self._batch_metrics = BatchMetrics(metrics.registry) if batching else None

    def load(self, path: str, beside_serving: bool = False) -> Runnable:
        """The version in folder `path`, ready to serve; raises ServingError.

        `beside_serving`: the warm-up gives way to calls of the models that serve already.
        """
        start = time.monotonic()
        status = "fail"
        try:
            model = self._read(path)
            status = "success"
        finally:
            self._metrics.observe_load(path, status, time.monotonic() - start)
        if self._options.warmup:  # most of the work: the graph is optimised at the first call
            warmup.replay(model, self._options.warmup_iterations, self._metrics, beside_serving)
        batching = batching_config.for_model(self._batching, path) if self._batching else None
        if batching is None or self._batch_metrics is None:
            return model
        return BatchedModel(model, batching, self._batch_metrics)

    def _read(self, path: str) -> sessions.Model | lite.LiteModel:
        interpreters = self._options.lite_interpreters
        if interpreters and lite.exists(path):
            return lite.load(path, interpreters)
        return sessions.load(path, self._options.tags, self._options.session)
