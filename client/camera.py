"""One camera of a run: its source, its stream, its sinks, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from client.report import CameraReport
from client.sinks import QueuedSink
from client.sources import LiveSource, OpenedSource
from client.stream import DetectionStream
from client.tally import Tally
from client.types import Account, Result


class Camera:
    """Runs one source to its end. It fails alone: what goes wrong is `error`, and nobody else's matter.

    `open_source`, `open_stream`, `open_steps` and `open_sinks` make what it needs, on its thread; each result goes
    through the steps before it is counted and written. `shown` names the source without its password.
    """

    def __init__(
        self,
        camera_id: str,
        shown: str,
        open_source: Callable[[], OpenedSource],
        open_stream: Callable[[OpenedSource], DetectionStream],
        open_steps: Callable[[OpenedSource], Sequence[Callable[[Result], Result]]],
        open_sinks: Callable[[OpenedSource], Sequence[QueuedSink[Any]]],
        shared_sinks: Sequence[QueuedSink[Any]],
    ) -> None:
        self.camera_id = camera_id
        self.shown = shown
        self.tally = Tally()
        self.error: Exception | None = None
        self.sinks: Sequence[QueuedSink[Any]] = ()
        self._open_source, self._open_stream, self._open_sinks = open_source, open_stream, open_sinks
        self._open_steps, self._shared_sinks = open_steps, shared_sinks
        self._source: OpenedSource | None = None
        self._stream: DetectionStream | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {camera_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more frames; returns at once."""
        self._stopping.set()
        if self._stream is not None:
            self._stream.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    @property
    def state(self) -> str:
        """What it is doing, in a word or two."""
        if self.error is not None:
            return "failed"
        if not self.alive:
            return "ended"
        if self._stream is None:
            return "connecting"
        if isinstance(self._source, LiveSource) and self._source.state != "streaming":
            return str(self._source.state)
        return self._stream.state

    @property
    def report(self) -> CameraReport:
        """How it is now; `error` is for who knows what the run was asked for."""
        report = CameraReport(self.camera_id, self.shown, self.state, Account(), self.tally)
        stream = self._stream
        if stream is None:
            return report
        return replace(
            report, account=stream.account, control=stream.control, max_age_s=stream.config.max_age_s,
            problem=stream.problem, reconnects=stream.reconnects, source_reconnects=stream.source_reconnects,
        )  # fmt: skip

    def _run(self) -> None:
        try:
            source = self._source = self._open_source()
            steps = self._open_steps(source)
            self.sinks = self._open_sinks(source)
            if self._stopping.is_set():
                source.close()
                return
            with self._open_stream(source) as stream:
                self._stream = stream
                if self._stopping.is_set():  # it was asked to while the stream was made
                    stream.stop()
                self._pump(stream, steps)
        except Exception as error:  # whatever it is, it ends this camera only, and the summary names it
            self.error = error

    def _pump(self, stream: DetectionStream, steps: Sequence[Callable[[Result], Result]]) -> None:
        for result in stream:
            for step in steps:
                result = step(result)
            self.tally.add(result)
            for queued in (*self._shared_sinks, *self.sinks):
                queued.write(result)
