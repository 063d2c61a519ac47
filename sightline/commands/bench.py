"""`sightline bench`."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Measure: the engine against its peers, the stack against the engine.", no_args_is_help=True
)


@app.callback()
def bench() -> None:
    """Measure: the engine against its peers, the stack against the engine."""
