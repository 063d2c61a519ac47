"""What `sightline load compare` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from loadtest.compare import LEVEL, Comparison


def comparison_table(found: Sequence[Comparison]) -> Table:
    """A row for each metric: both values, the ratio with its interval, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "first", "second", "ratio", f"{100 * (1 - LEVEL):.0f} % interval", "p", "verdict"):
        table.add_column(title, justify="left" if title in ("", "verdict") else "right", no_wrap=True)
    for item in found:
        table.add_row(
            item.metric, f"{item.first:.1f}", f"{item.second:.1f}", f"{item.ratio:.2f}",
            f"{item.low:.2f} to {item.high:.2f}", f"{item.p_value:.2g}", item.verdict,
        )  # fmt: skip
    return table
