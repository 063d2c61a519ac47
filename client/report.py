"""What a run tells people at its end, as text; client/status.py tells how it goes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from client.age_control import AgeControl
from client.tally import Tally
from client.types import Account

_ADVICE = {
    "NOT_FOUND": "is a model of this name served there? See --model-name",
    "UNAUTHENTICATED": "is the token still valid? See --token",
    "UNAVAILABLE": "is the model server running?",
}


@dataclass(frozen=True, slots=True)
class CameraReport:
    """One camera, now or at its end. `error`: why it failed; `problem`: why its stream has no connection. Each is one
    line, empty where all is well."""

    camera_id: str
    source: str  # without passwords
    state: str
    account: Account
    tally: Tally
    error: str = ""
    problem: str = ""
    control: AgeControl | None = None  # what holds its results' age: frames in flight, detail of the pictures
    max_age_s: float = 0.0  # 0: none
    reconnects: int = 0  # connections to the relay after the first
    source_reconnects: int = 0  # times that its source came back


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
            p50, p99 = (milliseconds(tally.ages.percentile_s(percent)) for percent in (50, 99))
            lines += [
                f"rate      {tally.fps:.1f} frames/s delivered",
                f"age       p50 {p50}  p99 {p99}",
                *_late(self.cameras, account),
                f"model     {versions_text(tally.versions)}",
                f"found     {tally.detections} objects, {per_frame(tally)} a frame",
            ]
        if len(self.cameras) > 1 and account.captured:
            lines += [camera_line(camera) for camera in self.cameras]
        connected = sum(camera.reconnects for camera in self.cameras)
        opened = sum(camera.source_reconnects for camera in self.cameras)
        if connected or opened:
            lines.append(f"again     {_times(connected, 'connected')}, {_times(opened, 'opened a source')}")
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
        f" + {dropped_text(account.dropped)}" + (f" + {under_way} under way" if under_way else "")
    )


def sink_text(sink: SinkReport) -> str:
    """`290 to results.jsonl`, and where some were lost `, 10 dropped (queue_full 8, undelivered 2: it answers 503)`."""
    if not any(sink.dropped.values()):
        return f"{sink.written} to {sink.name}"
    lost = dropped_text(sink.dropped)
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


def sum_accounts(accounts: Iterable[Account]) -> Account:
    """The accounts of several cameras as one."""
    total = Account()
    for account in accounts:
        total.merge(account)
    return total


def advised(error: str) -> str:
    """An error, and what may help where that can be told from its code."""
    advice = _ADVICE.get(error.partition(":")[0])
    return f"{error}; {advice}" if advice else error


def printable(text: str) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _late(cameras: Sequence[CameraReport], account: Account) -> list[str]:
    """How much of what was delivered was older than its camera's max age, in a line if any has one."""
    if not any(camera.max_age_s for camera in cameras):
        return []
    share = 100 * account.late / account.delivered
    return [f"late      {account.late} of {account.delivered} delivered, {share:.1f} %, by their max age"]


def _times(count: int, what: str) -> str:
    return f"{what} {count} time{'s' * (count != 1)}"


def dropped_text(counts: Mapping[str, int]) -> str:
    """`10 dropped (expired 4, source_overrun 6)`."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    return f"{sum(counts.values())} dropped" + (f" ({reasons})" if reasons else "")


def _first_file(tally: Tally, error: str, count: int) -> str:
    """Which file had this error first, where frames are files."""
    if error not in tally.examples:
        return ""
    return f" ({tally.examples[error]}{' first' * (count > 1)})"


def per_frame(tally: Tally) -> str:
    """Objects a frame: `20.5`; `-` where none was delivered."""
    return f"{tally.detections / tally.delivered:.1f}" if tally.delivered else "-"


def milliseconds(seconds: float) -> str:
    """`63 ms`; `-` for NaN."""
    return "-" if math.isnan(seconds) else f"{seconds * 1e3:.0f} ms"
