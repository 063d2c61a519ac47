"""Stages: they add up to the age, whatever the clocks of camera and relay say of each other."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from client.ledger import Entry, Ledger
from client.sources import SourceOptions, open_source
from client.stream import DetectionStream, StreamConfig
from client.transport import Answer
from client.types import Detections, DropReason, Frame, Status
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread
from tests.client.results import NOTHING, UNIX_NS

DAY_NS = 86_400 * 10**9


def settled(entry: Entry, answer: Answer) -> dict[str, float]:
    ledger = Ledger("network")
    ledger.take_in(entry)
    ledger.settle(entry, answer)
    _, result = ledger.take_result()
    assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=0.1)
    assert min(result.stages_ms.values()) >= 0
    return result.stages_ms


def test_the_stages_of_a_frame_add_up_to_its_age() -> None:
    now = time.monotonic()
    frame = Frame("door", 0, now - 0.100, UNIX_NS, decoded_s=now - 0.090)
    answer = Answer(Status.DELIVERED, detections=NOTHING, stages_ms={"relay_queue": 5.0, "predict": 30.0})
    stages = settled(Entry(frame, 0, taken_s=now - 0.070, encoded_s=now - 0.060, sent=True), answer)
    assert list(stages) == ["decode", "wait", "encode", "relay_queue", "predict", "network"]
    assert [stages[name] for name in ("decode", "wait", "encode")] == pytest.approx([10, 20, 10])
    assert stages["network"] == pytest.approx(25, abs=2)
    unsent = settled(Entry(frame, 0), Answer.dropped(DropReason.UNSENT))
    assert list(unsent) == ["decode", "wait"]
    encoded = settled(Entry(replace(frame, decoded_s=0.0), 0), Answer.dropped(DropReason.UNSENT))
    assert list(encoded) == ["wait"]


def test_sources_that_decode_say_how_long_that_took() -> None:
    source = open_source("synthetic:size=160x120,frames=3", SourceOptions(every_frame=True))
    for frame in source.frames():
        assert 0 < frame.decoded_s - frame.captured_s < 1


class Skewed(NumberSource):
    """A camera whose wall clock is days off, and jumps back and forth."""

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            days = (-20_000, 365, 0)[frame.frame_id % 3]
            yield replace(frame, captured_unix_ns=max(0, frame.captured_unix_ns + days * DAY_NS))


@pytest.mark.parametrize(
    ("timing", "told"),
    [
        ("total;dur=4.5, infer;dur=3", (0.0015, 0.003)),
        ("total;dur=999999999, infer;dur=999999999", None),  # more than all of it: cut to what there is
        ("total;dur=1, infer;dur=5", (0.0, 0.001)),
        ("total;dur=-1, infer;dur=5", ()),
        ("total;dur=nan, infer;dur=1e9", ()),
        ("9" * 5000, ()),
    ],
)
def test_what_a_server_says_of_its_times_is_taken_apart(timing: str, told: tuple[float, ...] | None) -> None:
    """Whatever it says, no stage is negative and all add up to the age."""
    with FakeModelServer(latency_s=0.005, timing=timing) as server, RelayThread(server.target) as relay:
        with DetectionStream(NumberSource(3), relay.target, StreamConfig(max_age_s=0)) as stream:
            results = list(stream)
        relay.wait_idle()
        inferred_s = relay.count("sightline_relay_stage_seconds_sum", stage="infer")
        assert relay.count("sightline_relay_stage_seconds_count", stage="infer") == (0 if told == () else 3)
    parts = {"predict"} if told == () else {"mesh", "server", "infer"}
    for result in results:
        stages = result.stages_ms
        assert stages.keys() == {"wait", "encode", "relay_queue", "relay_order", "network", *parts}
        assert min(stages.values()) >= 0
        assert sum(stages.values()) == pytest.approx(result.age_s * 1e3, abs=1.0)
        if told:
            assert (stages["server"], stages["infer"]) == pytest.approx([1e3 * part for part in told])
    if told:
        assert inferred_s == pytest.approx(3 * told[1])


def test_a_cameras_wrong_clock_corrupts_nothing() -> None:
    with (
        FakeModelServer() as server,
        RelayThread(server.target) as relay,
        DetectionStream(
            Skewed(30, live=True, interval_s=0.02), relay.target, StreamConfig(max_age_s=5)
        ) as stream,
    ):
        results = list(stream)
        relay.wait_idle()
        ages_s = relay.count("sightline_relay_result_age_seconds_sum")
    assert stream.account.balanced
    assert stream.account.delivered >= 25
    assert stream.account.dropped["expired"] == 0
    for result in results:
        assert 0 <= result.age_s < 2
        assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=1.0)
        assert min(result.stages_ms.values()) >= 0
        assert isinstance(result.detections, Detections | None)
    assert 0 <= ages_s < 30 * 2
