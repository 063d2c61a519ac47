"""Stages: they add up to the age, whatever the clocks of camera and relay say of each other."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.ledger import Entry, Ledger
from client.relay.slot import Slot
from client.relayed import to_answer
from client.sources import SourceOptions, open_source
from client.stream import DetectionStream, StreamConfig
from client.transport import Answer
from client.types import Detections, DropReason, Frame, Status
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread
from tests.client.media import jpeg, picture, write_video
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
    frame = Frame("door", 0, now - 0.100, UNIX_NS, read_s=now - 0.098, decoded_s=now - 0.090)
    theirs = {"relay_queue": 5.0, "predict": 30.0, "relay_order": 0.0, "post": 1.0}
    answer = Answer(Status.DELIVERED, detections=NOTHING, stages_ms=theirs, received_s=now - 0.002)
    stages = settled(Entry(frame, 0, taken_s=now - 0.070, encoded_s=now - 0.060, sent=True), answer)
    assert list(stages) == ["capture", "decode", "wait", "encode", "network", *theirs]
    own = ("capture", "decode", "wait", "encode", "network")
    assert [stages[name] for name in own] == pytest.approx([2, 8, 20, 10, 58 - 36])
    assert stages["post"] == pytest.approx(1 + 2, abs=50)
    assert stages["post"] >= 3
    unsent = settled(Entry(frame, 0), Answer.dropped(DropReason.UNSENT))
    assert list(unsent) == ["capture", "decode", "wait"]
    encoded = settled(Entry(replace(frame, read_s=0.0, decoded_s=0.0), 0), Answer.dropped(DropReason.UNSENT))
    assert list(encoded) == ["wait"]


US = st.integers(0, 2**32 - 1) | st.integers(0, 100_000)
FIELDS = tuple(field.name for field in pb.Timings.DESCRIPTOR.fields)


@given(st.dictionaries(st.sampled_from(FIELDS), US), st.booleans(), st.booleans(), st.floats(0, 10))
def test_whatever_a_relay_says_of_its_times_no_stage_is_negative_and_all_add_up(
    told: dict[str, int], read: bool, decoded: bool, age_s: float
) -> None:
    """With another clock than ours, or one that says less: an older relay has no `post_us`."""
    times = [time.monotonic() - age_s * part for part in (1.0, 0.9, 0.8, 0.7, 0.6, 0.1)]
    frame = Frame("door", 0, times[0], UNIX_NS, read_s=read * times[1], decoded_s=decoded * times[2])
    result = pb.Result(delivered=pb.Detections(), timings=pb.Timings(**told))
    stages = settled(
        Entry(frame, 0, taken_s=times[3], encoded_s=times[4], sent=True), to_answer(result, times[5])
    )
    assert {"wait", "encode", "network", "relay_queue", "relay_order", "post"} <= stages.keys()
    assert ("capture" in stages, "decode" in stages) == (read, decoded)


def test_sources_say_how_long_it_took_to_have_a_frame_and_to_decode_it(tmp_path: Path) -> None:
    """What is known differs: docs/streaming.md."""

    def stages_s(spec: str) -> tuple[float, float]:
        (frame,) = open_source(spec, SourceOptions(every_frame=True)).frames()
        assert frame.captured_s <= (frame.read_s or frame.captured_s) <= (frame.decoded_s or time.monotonic())
        since_s = frame.read_s or frame.captured_s
        return since_s - frame.captured_s, (frame.decoded_s or since_s) - since_s

    drawn, nothing = stages_s("synthetic:size=160x120,frames=1")
    assert 0 < drawn < 60
    assert nothing == 0
    (tmp_path / "plain.jpg").write_bytes(jpeg(picture()))
    read, nothing = stages_s(str(tmp_path / "plain.jpg"))
    assert 0 < read < 60
    assert nothing == 0
    (tmp_path / "turned.jpg").write_bytes(jpeg(picture(), orientation=6))
    assert min(stages_s(str(tmp_path / "turned.jpg"))) > 0
    nothing, decoded = stages_s(str(write_video(tmp_path / "clip.mp4", frames=1)))
    assert nothing == 0
    assert 0 < decoded < 60


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
        stage_s = {
            stage: relay.count("sightline_relay_stage_seconds_sum", stage=stage)
            for stage in ("queue", "predict", "post", "order", "total")
        }
        assert stage_s["post"] > 0
        assert sum(stage_s.values()) == pytest.approx(2 * stage_s["total"], abs=1e-4)
    parts = {"predict"} if told == () else {"mesh", "server", "infer"}
    for result in results:
        stages = result.stages_ms
        assert stages.keys() == {"wait", "encode", "relay_queue", "relay_order", "post", "network", *parts}
        assert min(stages.values()) >= 0
        assert sum(stages.values()) == pytest.approx(result.age_s * 1e3, abs=1.0)
        if told:
            assert (stages["server"], stages["infer"]) == pytest.approx([1e3 * part for part in told])
    if told:
        assert inferred_s == pytest.approx(3 * told[1])


def test_a_frame_that_expires_at_the_server_was_at_the_server() -> None:
    slot = Slot(pb.Frame(max_age_ms=400), 10.0)
    slot.sent_s = 10.1
    slot.drop("expired")
    timings = slot.finish(10.4).timings
    assert (timings.relay_queue_us, timings.predict_us, timings.relay_total_us) == (100_000, 300_000, 400_000)


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
