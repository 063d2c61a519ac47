"""Several starts: all take the same turns, and who starts first changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightline.bench.starts import several
from sightline.bench.worker import Detect, Factory


@dataclass(frozen=True)
class Engine:
    """Writes down when it is made."""

    log: Path

    def __call__(self, callers: int) -> list[Detect]:
        with self.log.open("a") as out:
            out.write(f"engine {callers}\n")
        return [lambda _: time.sleep(0.001)] * callers


def test_all_take_the_same_turns_and_the_order_of_starting_changes(tmp_path: Path) -> None:
    log = tmp_path / "log"

    @contextmanager
    def services() -> Iterator[dict[str, Factory]]:
        with log.open("a") as out:
            out.write("services\n")
        yield {"service": Engine(tmp_path / "other")}

    found = several(2, {"in process": Engine(log)}, services, (1, 2), [b"image"], rounds=3, frames=4)
    for callers, turns in zip((1, 2), found, strict=True):
        assert list(turns) == ["in process", "service"]
        assert all([len(turn.latencies_s) for turn in its] == [4 * callers] * 6 for its in turns.values())
    engines = ["engine 1", "engine 2"]
    assert log.read_text().splitlines() == ["services", *engines, *engines, "services"]
