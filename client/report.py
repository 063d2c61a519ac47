"""What a run tells people: its rolling status and its summary, as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from client.tally import Tally
from client.types import Account

_ADVICE = {
    "NOT_FOUND": "is a model of this name served there? See --model-name",
    "UNAVAILABLE": "is the model server running?",
}


@dataclass(frozen=True, slots=True)
class CameraReport:
    """One camera, now or at its end. `error` is one line, empty where all is well."""

    camera_id: str
    source: str  # without passwords
    state: str
    account: Account
    tally: Tally
    error: str = ""
    control: str = ""  # what holds its results' age: frames in flight, detail of the pictures


@dataclass(frozen=True, slots=True)
class SinkReport:
    """One sink: results `written`, and `dropped` by reason (see QueuedSink).

    `problem`: why results were lost last. `error`: why the sink failed. Each is one line or empty.
    """

    name: str
    written: int
    dropped: Mapping[str, int]
    problem: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run that ended. `account` and `tally` are the sums over all cameras.

    In one line each: `notes` are hints, `failures` why the run or a part of it failed, `counted` lines and zones.
    """

    cameras: tuple[CameraReport, ...]
    account: Account
    tally: Tally
    sinks: tuple[SinkReport, ...] = ()
    notes: tuple[str, ...] = ()
    save_dir: str = ""
    failures: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if frames were delivered, every captured frame is accounted for and no sink failed; else 1."""
        sinks_well = not any(sink.error for sink in self.sinks)
        return 0 if self.account.delivered > 0 and self.account.balanced and sinks_well else 1

    def lines(self) -> list[str]:
        """The summary for people, without control characters; only what failed where nothing else is to tell."""
        account, tally, lines = self.account, self.tally, []
        if account.captured:
            lines = [f"frames    {outcome_text(account)}" + ("" if account.balanced else "  DO NOT ADD UP")]
        if account.delivered:
            lines += [
                f"rate      {tally.fps:.1f} frames/s delivered",
                f"age       p50 {_ms(tally.ages.percentile_s(50))}  p99 {_ms(tally.ages.percentile_s(99))}",
                f"model     {versions_text(tally.versions)}",
                f"found     {tally.detections} objects, {_per_frame(tally)} a frame",
            ]
        if len(self.cameras) > 1 and account.captured:
            lines += [camera_line(camera) for camera in self.cameras]
        lines += [f"counted   {count}" for count in self.counted]
        lines += [f"written   {sink_text(sink)}" for sink in self.sinks]
        lines += [
            f"errors    {count} frame{'s' * (count > 1)}: {text}{_first_file(tally, text, count)}"
            for text, count in tally.errors.most_common(3)
        ]
        lines += [f"note      {note}" for note in self.notes]
        lines += [f"failed    {failure}" for failure in self.failures]
        return [printable(line) for line in lines]


def camera_line(camera: CameraReport) -> str:
    """One camera at the end."""
    return f"  {camera.camera_id:<14}  {outcome_text(camera.account)}, {camera.tally.fps:.1f} frames/s"


def outcome_text(account: Account) -> str:
    """`300 captured = 290 delivered + 0 errored + 10 dropped (expired 4, source_overrun 6)`, and what is under way."""
    under_way = account.captured - account.settled
    return (
        f"{account.captured} captured = {account.delivered} delivered + {account.errored} errored"
        f" + {_dropped(account.dropped)}" + (f" + {under_way} under way" if under_way else "")
    )


def sink_text(sink: SinkReport) -> str:
    """`290 to results.jsonl`, and where some were lost `, 10 dropped (queue_full 8, undelivered 2: it answers 503)`."""
    if not any(sink.dropped.values()):
        return f"{sink.written} to {sink.name}"
    lost = _dropped(sink.dropped)
    return f"{sink.written} to {sink.name}, " + (f"{lost[:-1]}: {sink.problem})" if sink.problem else lost)


def versions_text(versions: Counter[tuple[str, int]]) -> str:
    """`yolov8 v2`, or the share of each where there are several: `yolov8 v1 90 %, v2 10 %`."""
    total = versions.total()
    several = len(versions) > 1
    parts, last = [], ""
    for (name, version), count in sorted(versions.items()):
        part = f"v{version}" if name == last else f"{name} v{version}"
        parts.append(part + (f" {100 * count / total:.0f} %" if several else ""))
        last = name
    return ", ".join(parts)


def status_line(cameras: Sequence[CameraReport], now: float) -> str:
    """The state of a run in one line: the last 5 seconds, and the counts so far. `now`: time.monotonic()."""
    total, tally = sum_accounts(c.account for c in cameras), Tally.merged(c.tally for c in cameras)
    fps, p50_s, p99_s = tally.recent_figures(now)
    states = Counter(camera.state for camera in cameras)
    if len(cameras) == 1:
        who = f"{cameras[0].camera_id}: {cameras[0].state}"
    else:
        who = "cameras: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    parts = [
        who, f"{fps:.1f} fps", "" if math.isnan(p50_s) else f"age p50 {_ms(p50_s)} p99 {_ms(p99_s)}", _outcomes(total),
        f"{_per_frame(tally)} objects/frame", versions_text(tally.versions),
        cameras[0].control if len(cameras) == 1 else "",
    ]  # fmt: skip
    if tally.errors:
        parts.append(f"last error: {next(reversed(tally.errors))}")
    return printable(" | ".join(part for part in parts if part))


def status_table(cameras: Sequence[CameraReport], now: float) -> Table:
    """The same for a terminal, a row per camera."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("camera", "state"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("fps", "p50", "p99", "delivered", "errored", "dropped", "objects/frame", "model", "control"):
        table.add_column(name, justify="right", no_wrap=True)
    for camera in cameras:
        account, tally = camera.account, camera.tally
        fps, p50_s, p99_s = tally.recent_figures(now)
        cells = (
            camera.camera_id, camera.state, f"{fps:.1f}", _ms(p50_s), _ms(p99_s), str(account.delivered),
            str(account.errored), str(account.dropped.total()), _per_frame(tally), versions_text(tally.versions),
            camera.control,
        )  # fmt: skip
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def sum_accounts(accounts: Iterable[Account]) -> Account:
    """The accounts of several cameras as one."""
    total = Account()
    for account in accounts:
        total.captured += account.captured
        total.delivered += account.delivered
        total.errored += account.errored
        total.dropped.update(account.dropped)
    return total


def advised(error: str) -> str:
    """An error, and what may help where that can be told from its code."""
    advice = _ADVICE.get(error.partition(":")[0])
    return f"{error}; {advice}" if advice else error


def printable(text: str) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _outcomes(account: Account) -> str:
    return f"{account.delivered} delivered, {account.errored} errored, {_dropped(account.dropped)}"


def _dropped(counts: Mapping[str, int]) -> str:
    """`10 dropped (expired 4, source_overrun 6)`."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    return f"{sum(counts.values())} dropped" + (f" ({reasons})" if reasons else "")


def _first_file(tally: Tally, error: str, count: int) -> str:
    """Which file had this error first, where frames are files."""
    if error not in tally.examples:
        return ""
    return f" ({tally.examples[error]}{' first' * (count > 1)})"


def _per_frame(tally: Tally) -> str:
    return f"{tally.detections / tally.delivered:.1f}" if tally.delivered else "-"


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:.0f} ms"
