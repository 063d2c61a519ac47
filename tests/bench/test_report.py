"""The peers' table, goals and plot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.report import IN_PROCESS, OURS, PYTORCH, SIGHTLINE, Row, goals, plot, rows_of, table
from sightline.bench.stack import SIDECARS
from sightline.bench.worker import Turn

GRPC = "gRPC + another"


def turns(*ms: float, callers: int = 1) -> list[Turn]:
    """One for each round, in which a frame takes so long."""
    return [Turn((one / 1e3,) * 3, callers * 1e3 / one) for one in ms]


# The second round was three times as slow, for everybody.
ONE = {OURS: turns(25, 75), GRPC: turns(20, 60), PYTORCH: turns(50, 150)}
MANY = {
    IN_PROCESS: turns(18, 54, callers=2),
    OURS: turns(20, 60, callers=2),
    SIGHTLINE + SIDECARS: turns(20.5, 61.5, callers=2),
    GRPC: turns(16, 48, callers=2),
    PYTORCH: turns(42, 126, callers=2),
}
ROWS = rows_of(ONE, MANY)


def test_each_is_compared_with_ours_round_by_round() -> None:
    file = io.StringIO()
    Console(file=file, width=200).print(table(ROWS, 4))
    _, ours, better, slower = [line.split() for line in file.getvalue().splitlines()]
    assert ours[-4:] == ["50.0", "1.00", "66.7", "1.00"]
    assert better[-4:] == ["40.0", "0.80", "83.3", "1.25"]
    assert slower[-4:] == ["100.0", "2.00", "31.7", "0.48"]


def test_without_ours_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(KeyError, match=OURS):
        rows_of({GRPC: ONE[GRPC]}, MANY)


def test_goals_say_whether_they_are_met() -> None:
    _, pytorch, best, share = goals(MANY, 4)
    assert pytorch == f"  2.10 times those of {PYTORCH}: goal 2, met"
    assert best == f"  0.80 times those of the best peer, {GRPC}: goal 1, missed"
    assert share == "  0.88 of our engine's in process, through relay, sidecars and server: goal 0.9, missed"


def test_the_plot_names_everybody_and_is_the_same_each_time(tmp_path: Path) -> None:
    pages = []
    rows = [Row(name, 25.0, 50.0, 1.0, 1.0) for name in MANY]
    for name in ("a.svg", "b.svg"):
        plot(rows, 4, tmp_path / name)
        pages.append((tmp_path / name).read_text())
    assert all(f"<!-- {row.name} -->" in pages[0] for row in rows)
    assert "4 callers: images/s, more is better" in pages[0]
    assert pages[0] == pages[1]
