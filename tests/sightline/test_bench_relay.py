"""The relay's cost under many cameras can be measured: a null model server, real processes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from client.bench import RelayCost
from client.bench_streams import Outcome
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


@pytest.mark.parametrize(("p99_ms", "cpu_us", "verdict"), [(99.0, 400.0, "met"), (101.0, 600.0, "missed")])
def test_goals_are_judged(
    monkeypatch: pytest.MonkeyPatch, p99_ms: float, cpu_us: float, verdict: str
) -> None:
    """What is printed of measurements, which are made up here."""
    cost = RelayCost(50_000, 1.0, 2.0, 1.5, 3.0, 4, 1000.0, 1e6 / cpu_us)

    def measured(streams: int, fps: float, image_bytes: int, _seconds: float) -> relay.Steady:
        sent = round(100 * fps)
        outcome = Outcome(sent, sent, 0, 0, 5.0, p99_ms)
        return relay.Steady(streams, fps, image_bytes, outcome, cpu_us, 150.0 if verdict == "met" else 250.0)

    monkeypatch.setattr(relay, "measure_relay", lambda *_: cost)
    monkeypatch.setattr(relay, "measure", measured)
    text = io.StringIO()
    relay.run(1.0, 1000, Console(file=text, width=120))
    said = text.getvalue()
    assert f"goal 2000 a second of CPU: {verdict}" in said
    assert f"1000 streams at 2 fps, goal p99 below 100 ms and none dropped: {verdict}" in said
    assert "1000 streams against 10, goal the same: 1.00 times at 2 fps each," in said
    assert "1.00 times where 10 send as much in all, 2000 frames/s, and 1.00 at 300" in said
    assert f"KB, goal 200: {verdict}" in said
    assert said.count("100.0 %") == 8
