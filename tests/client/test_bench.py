"""The relay's cost can be measured: a null model server, real processes."""

from __future__ import annotations

import pytest

from client.bench import measure, measure_relay

pytestmark = pytest.mark.timeout(240)


def test_the_relay_adds_little_and_moves_frames() -> None:
    cost = measure_relay(image_bytes=10_000, frames=20, cameras=2, seconds=0.5, turns=2)
    assert len(cost.direct_ms) == len(cost.relayed_ms) == 40
    assert 0 < min(cost.direct_ms) < min(cost.relayed_ms) < 100
    assert len(cost.frames_per_s) == len(cost.frames_per_cpu_s) == 2
    assert min(cost.frames_per_s) > 20
    assert min(cost.frames_per_cpu_s) > 100
    assert "added" in str(cost)
    assert "2 cameras at full speed, median (least to most) of 2 turns" in str(cost)


def test_a_steady_load_is_measured() -> None:
    one = measure(streams=10, fps=5, image_bytes=5_000, seconds=1.0)
    outcome = one.outcome
    assert outcome.sent == outcome.delivered + outcome.dropped + outcome.errored
    assert outcome.delivered > 10
    assert outcome.errored == 0
    assert 0 < outcome.age_p50_ms <= outcome.age_p99_ms
    assert 10 < one.cpu_us < 50_000


def test_cameras_at_full_speed_get_all_their_frames_back() -> None:
    flood = measure(streams=2, fps=0, image_bytes=5_000, seconds=1.0, ahead=3).outcome
    assert flood.sent == flood.delivered > 100


def test_idle_streams_send_nothing_and_take_little() -> None:
    idle = measure(streams=100, fps=0, image_bytes=5_000, seconds=0.1)
    assert idle.outcome.sent == 0
    assert idle.stream_kb < 500
