"""Child processes of the local stack: start them, notice their death, stop them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from model.child import bound
from sightline import interrupts

LOG_TAIL_LINES = 12
STOP_GRACE_S = 15.0  # more than the relay's and the server's own grace


class ChildDied(RuntimeError):
    """A process of the stack ended by itself; the message ends with the last lines of its log."""


class Child:
    """One process, its output in a log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops all in order.
            self._process = subprocess.Popen(
                bound(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def stop(self, end_s: float) -> None:
        """Wait for it until the monotonic time `end_s`, having asked it to end; then kill it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end_s - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End it at once, if it still runs, and what it started and left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group of its session
        self._process.wait()

    def obituary(self) -> str:
        """How it ended, and the end of its log."""
        code = self._process.poll()
        how = (
            f"was ended by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exited with {code}"
        )
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"{self.name} {how}; the end of {self.log}:", *(f"  {line}" for line in tail)])


class Children:
    """Processes that live and end together. A context manager; leaving it stops the last started first."""

    def __init__(self, log_folder: Path) -> None:
        log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log_folder = log_folder
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start `command`, its output in `<log folder>/<name>.log`."""
        child = Child(name, command, self.log_folder / f"{name}.log")
        self._children.append(child)
        return child

    def __iter__(self) -> Iterator[Child]:
        """In the order in which they were started."""
        return iter(self._children)

    def check(self) -> None:
        """Raise ChildDied if one is gone, KeyboardInterrupt if all shall end."""
        interrupts.check()
        for child in self._children:
            if child.exit_code is not None:
                raise ChildDied(child.obituary())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        end_s = time.monotonic() + STOP_GRACE_S
        try:
            for child in reversed(self._children):
                child.stop(end_s)
        finally:
            for child in self._children:  # what a second Ctrl-C kept from ending in peace
                child.kill()
