"""Whatever a relay answers, the client neither crashes nor hangs, and no frame is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import DetectionStream, Result, StreamConfig, TransportError, sender, stream_state
from client.wire import relay_pb2 as pb
from tests.client.fakes import FakeRelay, NumberSource, done

FRAMES = 3
CONFIG = StreamConfig(max_age_s=0, window=2, connect_timeout_s=0.2, backoff_min_s=0.001, backoff_max_s=0.002)

numbers = st.floats(width=32) | st.floats(0, 1, width=32)
detections = st.builds(
    pb.Detections, boxes=st.lists(numbers, max_size=9), scores=st.lists(numbers, max_size=3),
    class_ids=st.lists(st.integers(0, 2**32 - 1), max_size=3), labels=st.lists(st.text(max_size=5), max_size=3),
    model_name=st.text(max_size=5), model_version=st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip
timings = st.builds(
    pb.Timings, **{field.name: st.integers(0, 2**32 - 1) for field in pb.Timings.DESCRIPTOR.fields}
)
outcomes = st.one_of(
    st.builds(lambda one: {"delivered": one}, detections),
    st.builds(lambda text: {"dropped": pb.Dropped(reason=text)}, st.text(max_size=9)),
    st.builds(
        lambda code, text: {"error": pb.Error(code=code, message=text)},
        st.integers(0, 2**32 - 1),
        st.text(max_size=9),
    ),
    st.sampled_from([{"retry": pb.Retry()}, {"closing": pb.Closing()}, {}]),
)
# Half of them are about the frame that was sent (0), the others about another.
results = st.builds(
    lambda about, outcome, times: (about, pb.Result(timings=times, **outcome)),
    st.just(0) | st.integers(0, 2**64 - 1), outcomes, timings,
)  # fmt: skip
answers = st.lists(results | st.binary(max_size=40), max_size=3)


@pytest.fixture(scope="module")
def relay() -> Iterator[FakeRelay]:
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)  # it tells each message that is none
    with FakeRelay(done) as running:
        running.stay = True
        yield running
    logging.getLogger("grpc._common").setLevel(logging.NOTSET)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(answers, min_size=1, max_size=FRAMES))
def test_whatever_a_relay_answers_each_frame_has_a_fate(
    relay: FakeRelay, monkeypatch: pytest.MonkeyPatch, script: list[list[tuple[int, pb.Result] | bytes]]
) -> None:
    monkeypatch.setattr(sender, "LONGEST_SILENCE_S", 0.02)
    monkeypatch.setattr(sender, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(stream_state, "CLOSING_S", 0.02)

    def answer(frame: pb.Frame) -> list[bytes]:
        said = []
        for one in script[frame.frame_id % len(script)]:
            if isinstance(one, bytes):
                said.append(one)
            else:
                about, result = one
                result.frame_id = about or frame.frame_id
                said.append(result.SerializeToString())
        return said

    relay.answer = answer
    stream = DetectionStream(NumberSource(FRAMES), relay.target, CONFIG)
    taken: list[Result] = []

    def take() -> None:
        try:
            taken.extend(stream)
        except TransportError:  # it gave the relay up
            taken.extend(stream)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(20)
    assert not taker.is_alive()
    stream.close()
    account = stream.account
    assert account.balanced, account
    assert len(taken) == account.captured
    for result in taken:
        outcomes = (result.detections, result.reason, result.error)
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=0.1)
