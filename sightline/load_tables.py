"""What `sightline load compare` and `selfcheck` print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from loadtest.compare import TITLES, Comparison
from loadtest.selfcheck import ALLOWED, Truth


def comparison_table(found: Sequence[Comparison]) -> Table:
    """A row for each metric: both values, the change with its interval, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in TITLES:
        table.add_column(title, justify="left" if title in ("", "verdict") else "right", no_wrap=True)
    for item in found:
        table.add_row(*item.cells)
    return table


def selfcheck_table(found: Sequence[Truth]) -> Table:
    """A row for each figure that is known."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "of", "in truth", "measured", "off", f"allowed {100 * ALLOWED:g} %"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for item in found:
        table.add_row(
            item.what, item.figure, f"{item.truth:.1f}", f"{item.measured:.1f}",
            f"{100 * item.off:+.2f} %", "ok" if item.ok else "NO",
        )  # fmt: skip
    return table
