"""Server or relay killed under running cameras and started again: no frame is lost silently."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sightline.conftest import ModelServer, Spawn, start_relay
from tests.sightline.stack import Counts, Running, assert_rows_match, counts_of, free_ports, rows_of

pytestmark = pytest.mark.timeout(300)

CAMERA = "synthetic:fps=8,size=640x480"
# TensorFlow on a machine that others use as well takes longer than the 0.2 s of a live source.
OPTIONS = ("--max-age", "2", "--jsonl", "rows.jsonl")


class Watched:
    """A `sightline detect` under way, and the rows that it wrote since the last look."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._seen = 0

    @property
    def path(self) -> Path:
        return self.running.folder / "rows.jsonl"

    def until(self, count: int, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for `count` new rows that are as wanted."""
        self.running.until(lambda: len([r for r in rows_of(self.path)[self._seen :] if wanted(r)]) >= count)
        self._seen = len(rows_of(self.path))

    def finish(self) -> tuple[Counts, list[dict[str, Any]]]:
        """Stop it; its counts and rows, which agree, frame by frame."""
        done = self.running.signal(signal.SIGINT).wait()
        assert (done.code, done.err) == (0, "")
        counts, rows = counts_of(done.out), rows_of(self.path)
        assert_rows_match(rows, counts)
        return counts, rows


def delivered(row: dict[str, Any]) -> bool:
    return bool(row["status"] == "delivered")


def lost(row: dict[str, Any]) -> bool:
    return not delivered(row)


def test_a_server_that_is_killed_and_comes_back(server: ModelServer, relay: str, spawn: Spawn) -> None:
    """One camera through the relay, one straight to the server."""
    cameras = [
        Watched(spawn("detect", CAMERA, f"--relay={relay}", *OPTIONS)),
        Watched(spawn("detect", CAMERA, f"--server={server.target}", *OPTIONS)),
    ]
    for camera in cameras:
        camera.until(5, delivered)
    server.running.kill()
    try:
        for camera in cameras:
            camera.until(3, lost)
    finally:
        server.start()
    for camera in cameras:
        camera.until(5, delivered)
    (relayed, relayed_rows), (direct, direct_rows) = [camera.finish() for camera in cameras]
    assert {row["error"].partition(":")[0] for row in relayed_rows if row["status"] == "errored"} <= {
        "UNAVAILABLE"
    }
    assert relayed.errored > 0
    assert direct.errored + direct.reasons["unsent"] > 0
    for row in filter(delivered, relayed_rows):
        assert {"mesh", "server", "infer"} < row["stages_ms"].keys()  # our server tells its times
        assert row["stages_ms"]["infer"] > 0
    for rows in (relayed_rows, direct_rows):
        assert {row["version"] for row in rows if delivered(row)} == {1}


def test_a_relay_that_is_killed_and_comes_back(server: ModelServer, spawn: Spawn) -> None:
    (port,) = free_ports(1)
    first = start_relay(spawn, server.target, port)
    camera = Watched(spawn("detect", CAMERA, f"--relay=127.0.0.1:{port}", *OPTIONS))
    camera.until(5, delivered)
    first.kill()
    camera.until(3, lost)
    start_relay(spawn, server.target, port)
    camera.until(5, delivered)
    counts, _ = camera.finish()
    assert counts.errored == 0
    assert counts.reasons["unsent"] >= 3
    assert set(counts.reasons) <= {"unsent", "disconnected", "expired", "source_overrun", "shutdown"}


def test_a_relay_that_is_stopped_answers_what_it_has(server: ModelServer, spawn: Spawn) -> None:
    (port,) = free_ports(1)
    relay = start_relay(spawn, server.target, port)
    camera = Watched(spawn("detect", CAMERA, f"--relay=127.0.0.1:{port}", *OPTIONS))
    camera.until(5, delivered)
    done = relay.signal(signal.SIGTERM).wait()
    assert done.code == 0
    camera.until(1, lost)
    counts, _ = camera.finish()
    assert counts.errored == 0
    assert "disconnected" not in counts.reasons  # it sent all it had before it went
