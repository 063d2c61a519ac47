"""The relay's cost under many cameras can be measured: a null model server, real processes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sightline.bench import relay

pytestmark = pytest.mark.timeout(240)


def test_a_steady_load_is_measured() -> None:
    one = relay.measure(streams=10, fps=5, image_bytes=5_000, seconds=1.0)
    outcome = one.outcome
    assert outcome.sent == outcome.delivered + outcome.dropped + outcome.errored
    assert outcome.delivered > 10
    assert outcome.errored == 0
    assert 0 < outcome.age_p50_ms <= outcome.age_p99_ms
    assert 10 < one.cpu_us < 50_000


def test_idle_streams_send_nothing_and_take_little() -> None:
    idle = relay.measure(streams=100, fps=0, image_bytes=5_000, seconds=0.1)
    assert idle.outcome.sent == 0
    assert idle.stream_kb < 500


def test_all_of_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FLOOD_FRAMES", 50)
    monkeypatch.setattr(relay, "STEADY_FRAMES_S", 30)
    text = io.StringIO()
    relay.run(1.0, 20, Console(file=text, width=120))
    said = text.getvalue()
    assert "20 streams at 2 fps, goal p99 below 100 ms" in said
    assert "an idle stream takes" in said
