"""`sightline detect`: sources through a relay (or straight to a model server) into sinks, with a full account."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from client.camera import Camera
from client.choose import Choice
from client.detect_config import CameraConfig, DetectConfig
from client.detect_sinks import camera_sinks, open_counts, shared_sinks, tracking
from client.errors import Refused, Unreachable
from client.relayed import RelayTransport
from client.report import (
    CameraReport,
    SinkReport,
    Summary,
    advised,
    printable,
    sum_accounts,
)  # fmt: skip
from client.signals import signals_set
from client.sinks import QueuedSink, close_all
from client.sources import open_source, redact
from client.status import status_line, status_table
from client.stream import DetectionStream
from client.tally import Tally
from client.transport import Transport

if TYPE_CHECKING:
    from client.sinks.counts import Counts

STATUS_EVERY_S = 5.0  # between status lines where the output is no terminal
# Errors that no patience cures: after `wait_s` of nothing else, a run ends.
_HOPELESS = ("NOT_FOUND", "UNIMPLEMENTED", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION")


def run(config: DetectConfig, console: Console | None = None, stop: threading.Event | None = None) -> Summary:
    """Stream all sources until they end, `duration_s` is over, `stop` is set, or Ctrl-C or SIGTERM comes.

    Status goes to `console` (standard output, or standard error where JSON Lines go to the former), the summary
    too. A source that cannot be opened, and a relay that is not there, are lines of `Summary.failures`.

    Raises:
        SinkError: an output cannot be opened.
    """
    console = console or Console(stderr=config.jsonl == "-")
    stop = stop or threading.Event()
    detection = _Run(config, console)
    with signals_set(stop):
        try:
            detection.stream(console, stop)
        finally:
            detection.finish()
        summary = detection.summary()
        for line in summary.lines():
            _say(console, line)
    return summary


class _Run:
    """The cameras and sinks of one run."""

    def __init__(self, config: DetectConfig, console: Console) -> None:
        self._config = config
        self._choices: list[Choice] = []  # all that look for classes
        pictures = any(camera.save or camera.snapshots for camera in config.cameras)
        self._save_dir = _new_folder(Path(config.project), config.name) if pictures else None
        self._cameras: list[Camera] = []
        self._shared = shared_sinks(config, console, self._reports)
        self._counts: list[Counts] = []
        self._cameras = [self._camera(*one) for one in zip(config.ids(), config.cameras, strict=True)]

    def stream(self, console: Console, stop: threading.Event) -> None:
        """Start all cameras and wait for the end, telling how it goes."""
        started_s = time.monotonic()
        for camera in self._cameras:
            camera.start()
        if console.is_terminal:
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                while not self._ended(started_s, stop):
                    live.update(self._rolling(console))
        else:
            next_s = started_s + STATUS_EVERY_S
            while not self._ended(started_s, stop):
                if time.monotonic() >= next_s:
                    next_s += STATUS_EVERY_S
                    _say(console, status_line(self._reports(), time.monotonic(), self._lost()))

    def finish(self) -> None:
        """Stop the cameras, settle their frames, close the sinks."""
        for camera in self._cameras:
            camera.stop()
        end_s = time.monotonic() + 8.0  # longer than a stream drains; who still opens a source is left behind
        for camera in self._cameras:
            camera.join(max(0.0, end_s - time.monotonic()))
        close_all(self._sinks())

    def summary(self) -> Summary:
        """What came of it; after `finish`."""
        reports = self._reports()
        sinks = tuple(
            SinkReport(s.name, s.written, s.dropped, s.problem or "", s.error or "") for s in self._sinks()
        )
        account = sum_accounts(report.account for report in reports)
        tally = Tally.merged(report.tally for report in reports)
        failures = [f"{report.camera_id}: {report.error}" for report in reports if report.error]
        silent = [report for report in reports if not report.error and not report.account.captured]
        failures += [f"{report.camera_id}: no frame came from {report.source}" for report in silent]
        common = {report.error for report in reports}
        if len(common) == 1 and reports[0].error:  # one reason for all of them: say it once
            failures = [reports[0].error]
        failures += self._lost()
        if account.delivered == 0 and not failures:
            worst = tally.errors.most_common(1)
            failures.append(
                f"no frame was delivered: {advised(worst[0][0]) if worst else 'see the reasons above'}"
            )
        counted = tuple(f"{c.camera_id}: {text}" for c in self._counts for text in c.texts())
        return Summary(
            reports, account, tally, sinks, self._notes(), str(self._save_dir or ""),
            tuple(printable(failure) for failure in failures), counted,
        )  # fmt: skip

    def _camera(self, camera_id: str, camera: CameraConfig) -> Camera:
        config, choice, snapshots = self._config, camera.choice(), camera.snapshot_choice()
        self._choices += (choice, snapshots)
        counts = open_counts(camera_id, camera, config.counts)
        if counts is not None:
            self._counts.append(counts)
        return Camera(
            camera_id,
            redact(camera.source),
            lambda: open_source(camera.source, camera.source_options(patient=config.patient), camera_id),
            lambda source: DetectionStream(
                source,
                _transport(config, camera, camera_id),
                camera.stream_config(live=source.live, wait_s=config.wait_s),
            ),
            lambda source: [*tracking(camera, source.fps), choice.apply],
            lambda source: camera_sinks(camera, source, self._save_dir, snapshots, counts),
            self._shared,
        )

    def _ended(self, started_s: float, stop: threading.Event) -> bool:
        """Wait a moment; whether the run is over."""
        if stop.wait(0.1) or not any(camera.alive for camera in self._cameras):
            return True
        now, config = time.monotonic(), self._config
        delivered_s = [c.tally.first_delivered_s for c in self._cameras if c.tally.delivered]
        if config.duration_s:
            end_s = started_s + max(config.duration_s, config.wait_s)
            if now >= (min(delivered_s) + config.duration_s if delivered_s else end_s):
                return True
        return not delivered_s and now - started_s > config.wait_s and self._hopeless()

    def _hopeless(self) -> bool:
        """Whether frames only ever failed, with errors that patience does not cure."""
        errors = Tally.merged(camera.tally for camera in self._cameras).errors
        return bool(errors) and all(text.startswith(_HOPELESS) for text in errors)

    def _rolling(self, console: Console) -> RenderableType:
        reports, now = self._reports(), time.monotonic()
        if len(reports) > 1:
            return status_table(reports, now, console, self._lost())
        return Text(status_line(reports, now, self._lost()))

    def _reports(self) -> tuple[CameraReport, ...]:
        return tuple(replace(c.report, error=self._explain(c.error)) for c in self._cameras)

    def _explain(self, error: Exception | None) -> str:
        """A camera's error in a line that tells what to do."""
        if error is None:
            return ""
        if isinstance(error, Unreachable | Refused):
            who, command, option = (
                ("model server", "serve", "server") if self._config.server else ("relay", "relay", "relay")
            )
            if isinstance(error, Refused):
                return (
                    f"the {who} at {error.target} refused: {advised(error.reason.removeprefix('refused: '))}"
                )
            start = f"start it with `sightline {command}`, or name it with --{option}"
            return f"cannot reach the {who} at {error.target} ({error.reason}): {start}"
        return (str(error) or type(error).__name__).splitlines()[0]

    def _sinks(self) -> list[QueuedSink[Any]]:
        return [*self._shared, *(sink for camera in self._cameras for sink in camera.sinks)]

    def _lost(self) -> list[str]:
        """Why sinks failed."""
        return [sink.error for sink in self._sinks() if sink.error]

    def _notes(self) -> tuple[str, ...]:
        told = (choice.unmatched() for choice in self._choices)
        notes = {
            f"nothing was called {', '.join(missing)}; there were {', '.join(seen[:20])}"
            for missing, seen in told
            if missing
        }
        notes |= {
            f"{c.camera_id}: not connected at the end: {c.report.problem}"
            for c in self._cameras
            if c.error is None and c.report.problem
        }
        return tuple(sorted(notes))


def _say(console: Console, line: str) -> None:
    """One line, as it is and whole however narrow the terminal."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _transport(config: DetectConfig, camera: CameraConfig, camera_id: str) -> Transport:
    if not config.server:
        return RelayTransport(
            config.relay, priority=camera.priority, security=config.security, camera_id=camera_id
        )
    from client.direct import DirectTransport

    return DirectTransport(config.server, model_name=config.model_name)


def _new_folder(project: Path, name: str) -> Path:
    """`project/name`, or with -2, -3, ... where that exists. Made by the sinks."""
    folder, number = project / name, 1
    while folder.exists():
        number += 1
        folder = project / f"{name}-{number}"
    return folder
