"""The peers' table and plot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.report import OURS, Row, plot, table

ROWS = [Row(OURS, 25.0, 50.0), Row("gRPC + another", 20.0, 60.0), Row("FastAPI + slow", 50.0, 25.0)]


def printed(rows: list[Row]) -> list[list[str]]:
    file = io.StringIO()
    Console(file=file, width=200).print(table(rows, 4))
    return [line.split() for line in file.getvalue().splitlines()]


def test_each_is_compared_with_ours() -> None:
    _, ours, better, slower = printed(ROWS)
    assert ours[-4:] == ["25.0", "1.00", "50.0", "1.00"]
    assert better[-4:] == ["20.0", "0.80", "60.0", "1.20"]
    assert slower[-4:] == ["50.0", "2.00", "25.0", "0.50"]


def test_without_ours_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(ValueError, match="unpack"):
        table(ROWS[1:], 4)


def test_the_plot_names_everybody_and_is_the_same_each_time(tmp_path: Path) -> None:
    pages = []
    for name in ("a.svg", "b.svg"):
        plot(ROWS, 4, tmp_path / name)
        pages.append((tmp_path / name).read_text())
    assert all(f"<!-- {row.name} -->" in pages[0] for row in ROWS)
    assert "4 callers: images/s, more is better" in pages[0]
    assert pages[0] == pages[1]
