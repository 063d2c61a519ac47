"""Where commands print tables: a terminal as wide as it is, anything else wide enough for them."""

from __future__ import annotations

from rich.console import Console

TABLE_WIDTH = 120


def table_console() -> Console:
    """A console on standard output; Rich would cut tables to 80 columns in a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=TABLE_WIDTH)
