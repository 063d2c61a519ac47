from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from client.transport import Answer, Listener, Outgoing
from client.types import Status
from loadtest import stream
from loadtest.stream import CameraConfig, PacedCamera, Seen

ANSWER = Answer(Status.DELIVERED, model_version=2)


@dataclass
class Fake:
    """A transport whose connections answer as `behave` says: at once, never, or not before a time."""

    silent: bool = False
    stalled_until_s: float = 0.0
    listeners: list[Listener] = field(default_factory=list)
    target: str = "fake"

    def open(self, listener: Listener) -> Any:
        self.listeners.append(listener)
        listener.ready()
        return _Connection(self, listener)


class _Connection:
    def __init__(self, fake: Fake, listener: Listener) -> None:
        self._fake, self._listener = fake, listener

    def send(self, frame: Outgoing) -> None:
        if not self._fake.silent:
            wait_s = max(0.0, self._fake.stalled_until_s - time.monotonic())
            threading.Timer(wait_s, self._listener.answered, (frame.seq, ANSWER)).start()

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


def run(fake: Fake, seconds: float, fps: float = 50.0) -> tuple[list[Seen], list[Seen]]:
    due: list[Seen] = []
    settled: list[Seen] = []
    camera = PacedCamera(CameraConfig("cam", fps, [b"x"]), fake, settled.append, due.append)  # type: ignore[arg-type]
    camera.start()
    time.sleep(seconds)
    camera.finish()
    camera.check()
    return due, settled


def test_a_stall_shows_in_full() -> None:
    """Frames that were due during a stall of 0.5 s are aged 0 to 0.5 s evenly: none is left out, none sent later."""
    due, settled = run(Fake(stalled_until_s=time.monotonic() + 0.5), 1.0)
    assert len(due) == len(settled) == pytest.approx(50, abs=3)
    assert {seen.outcome for seen in settled} == {"delivered"}
    assert {seen.detail for seen in settled} == {"v2"}
    ages = sorted(seen.age_s for seen in settled)
    assert ages[-1] == pytest.approx(0.5, abs=0.06)
    assert sum(age > 0.25 for age in ages) == pytest.approx(12, abs=4)
    gaps = [b.due_s - a.due_s for a, b in itertools.pairwise(due)]
    assert gaps == pytest.approx([0.02] * len(gaps))


def test_frames_that_nobody_answers_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "DRAIN_S", 0.2)
    due, settled = run(Fake(silent=True), 0.3)
    assert due
    assert Counter(seen.outcome for seen in settled) == {"lost": len(due)}


def test_a_relay_that_takes_nothing_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "DRAIN_S", 0.1)
    monkeypatch.setattr(stream, "MAX_UNANSWERED", 5)
    due, settled = run(Fake(silent=True), 0.4)
    fates = Counter((seen.outcome, seen.detail) for seen in settled)
    assert fates == {("lost", ""): 5, ("dropped", "unsent"): len(due) - 5}


def test_a_broken_connection_drops_its_frames_and_is_opened_again() -> None:
    fake = Fake(stalled_until_s=time.monotonic() + 0.3)
    threading.Timer(0.2, lambda: fake.listeners[0].broken("UNAVAILABLE: gone")).start()
    due, settled = run(fake, 1.0)
    fates = Counter((seen.outcome, seen.detail) for seen in settled)
    assert len(due) == len(settled)
    assert fates["dropped", "disconnected"] > 3
    assert fates["delivered", "v2"] > 10
    assert len(fake.listeners) == 2
    assert {seen.message for seen in settled if seen.outcome == "dropped"} == {"UNAVAILABLE: gone"}


def test_a_token_that_cannot_be_had_is_told() -> None:
    class NoToken(Fake):
        def open(self, listener: Listener) -> Any:
            raise ValueError("no token for cam")

    with pytest.raises(ValueError, match="no token for cam"):
        run(NoToken(), 0.1)


def test_frames_are_due_while_a_slow_gateway_connects() -> None:
    """Half of the second goes by before the relay is there: the frames of that half are unsent, not left out."""

    class Slow(Fake):
        def open(self, listener: Listener) -> Any:
            self.listeners.append(listener)
            threading.Timer(0.5, listener.ready).start()
            return _Connection(self, listener)

    due, settled = run(Slow(), 1.0)
    fates = Counter((seen.outcome, seen.detail) for seen in settled)
    assert len(due) == len(settled) == pytest.approx(50, abs=3)
    assert fates == {
        ("dropped", "unsent"): pytest.approx(25, abs=4),
        ("delivered", "v2"): pytest.approx(25, abs=4),
    }


def test_a_send_that_blocks_leaves_no_frame_out() -> None:
    """The schedule goes on: what was due meanwhile is sent late, and is as old as that."""

    class Blocking(_Connection):
        def send(self, frame: Outgoing) -> None:
            if frame.seq == 5:
                time.sleep(0.4)
            super().send(frame)

    class Blocks(Fake):
        def open(self, listener: Listener) -> Any:
            super().open(listener)
            return Blocking(self, listener)

    due, settled = run(Blocks(), 1.0)
    assert len(due) == len(settled) == pytest.approx(50, abs=3)
    gaps = [b.due_s - a.due_s for a, b in itertools.pairwise(due)]
    assert gaps == pytest.approx([0.02] * len(gaps))
    assert sum(seen.age_s > 0.2 for seen in settled) == pytest.approx(10, abs=3)
    assert max(seen.late_s for seen in due) == pytest.approx(0.38, abs=0.05)
