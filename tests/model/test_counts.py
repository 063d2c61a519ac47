from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from model.counts import Counter, Histogram
from serving.metrics import LATENCY_BUCKETS_US


def samples(registry: CollectorRegistry) -> list[Any]:
    """All that a scrape gets but the times of creation, which the page leaves out."""
    return [
        (family.name, family.type, sample.name, sample.labels, sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("labels", [(), ("model", "API")])
def test_a_scrape_gets_what_the_librarys_own_give(labels: tuple[str, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter, histogram = Counter("c", labels, ours), Histogram("h", labels, (1.0, 2.5, 10.0), ours)
    their_counter = prometheus_client.Counter("c", "c", labels, registry=theirs)
    their_histogram = prometheus_client.Histogram("h", "h", labels, registry=theirs, buckets=(1.0, 2.5, 10.0))
    assert samples(ours) == samples(theirs)
    for value in (0.0, 0.5, 1.0, 1.1, 2.5, 10.0, 10.5, 1e9):
        for name in ("m", "n"):
            chosen = (name, "Predict")[: len(labels)]
            counter.inc(*chosen, by=value)
            histogram.observe(value, *chosen)
            (their_counter.labels(*chosen) if labels else their_counter).inc(value)
            (their_histogram.labels(*chosen) if labels else their_histogram).observe(value)
    assert samples(ours) == samples(theirs)


@pytest.mark.parametrize(("exclusive", "below"), [(False, [1, 2]), (True, [0, 1])])
def test_a_value_that_is_a_bound(exclusive: bool, below: list[int]) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", (), (1.0, 2.0), registry, exclusive=exclusive)
    for value in (1.0, 2.0, 3.0):
        histogram.observe(value)
    assert [registry.get_sample_value("h_bucket", {"le": bound}) for bound in ("1.0", "2.0")] == below
    assert registry.get_sample_value("h_count") == 3


@pytest.mark.usefixtures("eager_switches")
def test_nothing_is_lost_when_threads_count_at_once() -> None:
    registry = CollectorRegistry()
    counter = Counter("c", ("model",), registry)
    histogram = Histogram("h", ("model",), LATENCY_BUCKETS_US, registry)
    labels = [f"m{number}" for number in range(50)]

    def count() -> None:
        for _ in range(20):
            for label in labels:
                counter.inc(label)
                histogram.observe(random.random() * 1e6, label)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for label in labels:
        assert registry.get_sample_value("c_total", {"model": label}) == 160
        assert registry.get_sample_value("h_count", {"model": label}) == 160


@pytest.mark.usefixtures("eager_switches")
def test_a_scrape_goes_on_while_new_labels_come() -> None:
    registry = CollectorRegistry()
    counter, histogram = Counter("c", ("n",), registry), Histogram("h", ("n",), (1.0,), registry)

    def count() -> None:
        for number in range(3000):
            counter.inc(str(number))
            histogram.observe(0.5, str(number))

    thread = threading.Thread(target=count)
    thread.start()
    while thread.is_alive():
        samples(registry)
    assert registry.get_sample_value("h_count", {"n": "2999"}) == 1
