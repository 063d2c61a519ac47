"""Counters and histograms for prometheus-client's registry that cost little to count with.

The library's own histogram walks its buckets in Python, and each of its values has a lock: too much for what is counted
in every request. A scrape gets the library's families from these.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Counter(Collector):
    """Sums, one for each set of labels' values; without labels it starts at 0. For any thread.

    `text`: what a scrape says that it is.
    """

    def __init__(self, name: str, labels: Sequence[str], registry: CollectorRegistry, text: str = "") -> None:
        self._name, self._text, self._labels = name, text or name, labels
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Count `by` more under these labels' values."""
        with self._lock:
            self._sums[labels] = self._sums.get(labels, 0.0) + by

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What was counted, for a scrape."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        with self._lock:
            sums = list(self._sums.items())
        for labels, value in sums:
            family.add_metric(labels, value)
        return [family]


class Histogram(Collector):
    """Values in buckets up to `bounds` (ascending), as Counter.

    A value that is a bound counts below it, as Prometheus says, or with `exclusive` above it, as in TensorFlow's own.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
        text: str = "",
        *,
        exclusive: bool = False,
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text or name, labels, bounds
        self._bucket = bisect_right if exclusive else bisect_left
        self._limits = [*map(str, bounds), "+Inf"]
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], _Series] = {}
        if not labels:
            self._series[()] = _Series(len(self._limits))
        registry.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value into its bucket, the first whose bound is not below it (`exclusive`: is above it)."""
        with self._lock:
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = _Series(len(self._limits))
            series.counts[self._bucket(self._bounds, value)] += 1
            series.sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What was counted, for a scrape."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        with self._lock:
            found = [(labels, list(accumulate(one.counts)), one.sum) for labels, one in self._series.items()]
        for labels, counts, total in found:
            family.add_metric(labels, list(zip(self._limits, counts, strict=True)), total)
        return [family]


class _Series:
    """How many values each bucket has, and the sum of all."""

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0
