"""What `sightline load compare` and `selfcheck` print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from loadtest.compare import LEVEL, Comparison
from loadtest.selfcheck import ALLOWED, Truth


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


def selfcheck_table(found: Sequence[Truth]) -> Table:
    """A row for each percentile that is known."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "percentile", "injected ms", "measured ms", "off", f"allowed {100 * ALLOWED:g} %"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for item in found:
        table.add_row(
            item.what, f"p{item.percent:g}", f"{item.injected_ms:.1f}", f"{item.measured_ms:.1f}",
            f"{100 * item.off:+.2f} %", "ok" if item.ok else "NO",
        )  # fmt: skip
    return table
