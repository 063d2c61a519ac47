"""How a run goes, for people: its rolling status as a line or a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.report import (
    CameraReport,
    dropped_text,
    milliseconds,
    per_frame,
    printable,
    sum_accounts,
    versions_text,
)
from client.tally import Tally
from client.types import Account

# Of the table, those that go first where a line has no room for all.
NARROWER = ("control", "objects/frame", "late", "model", "p50")


def status_line(cameras: Sequence[CameraReport], now: float, lost: Sequence[str] = ()) -> str:
    """The state of a run in one line: the last 5 seconds, and the counts so far. `now`: time.monotonic(); `lost`: why
    sinks failed."""
    total, tally = sum_accounts(c.account for c in cameras), Tally.merged(c.tally for c in cameras)
    fps, p50_s, p99_s = tally.recent_figures(now)
    states = Counter(camera.state for camera in cameras)
    if len(cameras) == 1:
        who = f"{cameras[0].camera_id}: {cameras[0].state}"
    else:
        who = "cameras: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    who += f" ({problems})" if (problems := problems_text(cameras)) else ""
    parts = [
        who, f"{fps:.1f} fps", "" if math.isnan(p50_s) else f"age p50 {milliseconds(p50_s)} p99 {milliseconds(p99_s)}",
        f"{total.late} late" if total.late else "", _outcomes(total),
        f"{per_frame(tally)} objects/frame", versions_text(tally.versions),
        control_text(cameras),
    ]  # fmt: skip
    if tally.errors:
        parts.append(f"last error: {next(reversed(tally.errors))}")
    parts += [f"not written: {why}" for why in lost]
    return printable(" | ".join(part for part in parts if part))


def status_table(
    cameras: Sequence[CameraReport], now: float, console: Console, lost: Sequence[str] = ()
) -> Table:
    """The same for a terminal, a row per camera, with as many columns as it has room for."""
    rows = [_cells(camera, now) for camera in cameras]
    room = console.options.update(max_width=10 * console.width)
    for gone in range(len(NARROWER) + 1):
        table = _table(rows, NARROWER[:gone])
        if console.measure(table, options=room).maximum <= console.width:
            break
    below = [problems_text(cameras), *(f"not written: {why}" for why in lost)]
    table.caption, table.caption_justify = Text("\n".join(printable(text) for text in below if text)), "left"
    return table


def _table(rows: Sequence[dict[str, str]], gone: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [name for name in rows[0] if name not in gone]
    for name in shown:
        left = name in ("camera", "state")
        table.add_column(name, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(printable(row[name])) for name in shown))
    return table


def _cells(camera: CameraReport, now: float) -> dict[str, str]:
    account, tally = camera.account, camera.tally
    fps, p50_s, p99_s = tally.recent_figures(now)
    return {
        "camera": camera.camera_id,
        "state": camera.state,
        "fps": f"{fps:.1f}",
        "p50": milliseconds(p50_s),
        "p99": milliseconds(p99_s),
        "late": str(account.late),
        "delivered": str(account.delivered),
        "errored": str(account.errored),
        "dropped": str(account.dropped.total()),
        "objects/frame": per_frame(tally),
        "model": versions_text(tally.versions),
        "control": str(camera.control or ""),
    }


def problems_text(cameras: Sequence[CameraReport]) -> str:
    """Why cameras have no connection, the most frequent reason first: `refused: CODE: ...`, and of several cameras
    `2 refused: CODE: ...`."""
    problems = Counter(camera.problem for camera in cameras if camera.problem).most_common(3)
    if len(cameras) == 1:
        return problems[0][0] if problems else ""
    return ", ".join(f"{count} {problem}" for problem, count in problems)


def control_text(cameras: Sequence[CameraReport]) -> str:
    """What holds the results' age where it is not as at first: `window 1, detail 40 %`, of several cameras from the
    least to the most: `window 1 to 4, detail 40 to 100 %`."""
    controls = [camera.control for camera in cameras if camera.control is not None]
    if len(controls) <= 1 or not any(map(str, controls)):
        return str(controls[0]) if len(controls) == 1 else ""
    window, detail = _span(c.window for c in controls), _span(round(100 * c.detail) for c in controls)
    return f"window {window}" + ("" if detail == "100" else f", detail {detail} %")


def _span(values: Iterable[int]) -> str:
    """`1 to 4`; `1` where all are the same."""
    least, *_, most = 2 * sorted(values)
    return str(least) if least == most else f"{least} to {most}"


def _outcomes(account: Account) -> str:
    return f"{account.delivered} delivered, {account.errored} errored, {dropped_text(account.dropped)}"
