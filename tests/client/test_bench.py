"""The relay's cost can be measured."""

from __future__ import annotations

from client.bench import measure_relay


def test_the_relay_adds_little_and_moves_frames() -> None:
    cost = measure_relay(image_bytes=10_000, frames=50, cameras=2)
    assert 0 < cost.direct_p50_ms < cost.relayed_p50_ms < 100
    assert cost.frames_per_s > 20
    assert cost.frames_per_cpu_s > 100
    assert "added" in str(cost)
