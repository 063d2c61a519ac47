"""What `sightline bench relay` prints of its measurements, which are made up here."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from client.bench import RelayCost, Steady
from client.bench_streams import Outcome
from sightline.bench import relay


def said(
    monkeypatch: pytest.MonkeyPatch,
    frames_per_cpu_s: list[float],
    p99s_ms: list[float],
    idle_kb: float = 150.0,
    streams: int = 1000,
) -> str:
    """`p99s_ms`: of the turns of the largest load, and of the others what the first of them has."""
    per_s = [1000.0] * len(frames_per_cpu_s)
    cost = RelayCost(50_000, [1.0, 1.0, 1.5], [2.0, 2.0, 3.0], 4, per_s, frames_per_cpu_s)
    left = iter(p99s_ms)

    def measured(count: int, fps: float, image_bytes: int, _seconds: float) -> Steady:
        sent, crowd = round(100 * fps), count == streams and fps == relay.STREAMS_FPS
        outcome = Outcome(sent, sent, 0, 0, 5.0, next(left) if crowd else p99s_ms[0])
        return Steady(count, fps, image_bytes, outcome, 400.0, idle_kb)

    monkeypatch.setattr(relay, "measure_relay", lambda *_, **__: cost)
    monkeypatch.setattr(relay, "measure", measured)
    text = io.StringIO()
    relay.run(1.0, streams, Console(file=text, width=120))
    return text.getvalue()


@pytest.mark.parametrize(
    ("frames_per_cpu_s", "p99_ms", "idle_kb", "verdict"),
    [([2500.0, 2100.0], 99.0, 150.0, "met"), ([1500.0, 1700.0], 101.0, 250.0, "missed")],
)
def test_goals_are_judged(
    monkeypatch: pytest.MonkeyPatch,
    frames_per_cpu_s: list[float],
    p99_ms: float,
    idle_kb: float,
    verdict: str,
) -> None:
    text = said(monkeypatch, frames_per_cpu_s, [p99_ms] * 3, idle_kb)
    assert f"goal 2000 a second of CPU: {verdict}\n" in text
    assert f"goal p99 below 100 ms and none dropped: {verdict}\n" in text
    assert "1000 streams against 10, goal the same: 1.00 times at 2 fps each," in text
    assert "1.00 times where 10 send as much in all, 2000 frames/s, and 1.00 at 300" in text
    assert f"KB, goal 200: {verdict}" in text
    assert text.count("100.0 %") == 8 + 3


def test_turns_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, [1500.0, 2100.0, 1900.0], [20.0, 400.0, 9.0])
    assert "1900 (1500 to 2100) per second of the relay's CPU" in text
    assert "goal 2000 a second of CPU: met in 1 of 3 turns" in text
    assert "p99 (delivered) of three turns: 9.0 (100.0 %), 20.0 (100.0 %), 400.0 (100.0 %) ms" in text
    assert "goal p99 below 100 ms and none dropped: met in 2 of 3 turns" in text
    assert " 20.0 " in next(line for line in text.splitlines() if line.startswith("   1000         2"))


def test_ten_streams_are_a_largest_load_too(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, [2500.0], [9.0] * 3, streams=10)
    assert "10 streams against 10, goal the same: 1.00 times" in text
