"""A table in the terminal: one row per result."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from client.errors import SinkError
from client.report import printable
from client.sinks.base import Sink
from client.sinks.jsonl import rfc3339
from client.types import Result, Status

_COLUMNS = ("time (UTC)", "camera", "frame", "age ms", "version", "found")
_WIDTHS = (12, 16, 8, 8, 8, 0)  # letters; the last takes the rest


class Table(Sink[str]):
    """Prints a row for each result, delivered or not, and the columns' names above the first.

    Time is the capture's; what was found is counted by label, the most frequent first.
    """

    name = "table"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = False

    def prepare(self, result: Result) -> str:
        """The row, without control characters."""
        frame = result.frame
        return _row(
            rfc3339(frame.captured_unix_ns)[11:23], frame.camera_id, str(frame.frame_id), f"{result.age_s * 1e3:.0f}",
            f"v{result.model_version}" if result.status is Status.DELIVERED else "-", outcome(result),
        )  # fmt: skip

    def put(self, item: str) -> None:
        """Print it."""
        if not self._begun:
            self._begun = True
            self._print(_row(*_COLUMNS), "dim")
        self._print(item)

    def _print(self, row: str, style: str = "") -> None:
        encoding = self._console.encoding
        try:
            self._console.print(Text(row.encode(encoding, "replace").decode(encoding), style), soft_wrap=True)
        except SystemExit:  # rich's way to tell that the reader of a pipe is gone
            raise SinkError("nobody reads it any more") from None


def outcome(result: Result) -> str:
    """`3 person, 1 car`; or why there is nothing: `dropped: expired`, `INVALID_ARGUMENT: ...`."""
    if result.status is Status.DROPPED:
        return f"dropped: {result.reason}"
    if result.detections is None:
        return result.error or "no reason given"
    counts = Counter(result.detections.labels).most_common()
    return ", ".join(f"{count} {label}" for label, count in counts) or "nothing"


def _row(*cells: str) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return printable("  ".join(padded).rstrip())
