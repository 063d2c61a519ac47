"""The stack's processes as a user starts them, and what they say."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from model.child import bound
from sightline.ready import wait_serving

COMMAND = (sys.executable, "-m", "sightline")
START_TIMEOUT_S = 200.0  # both exports and both servers of the mesh, on a machine that others use too


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def error_line(self) -> str:
        """What it said on standard error, which is one line and no traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.out + self.err
        return lines[0]

    @property
    def last_line(self) -> str:
        """The last line of its output, with nothing on standard error."""
        assert self.err == ""
        return self.out.splitlines()[-1]


@dataclass(frozen=True)
class Counts:
    """The summary's line of frames."""

    captured: int
    delivered: int
    errored: int
    dropped: int
    reasons: dict[str, int]


def sightline(*arguments: str | Path, cwd: Path | None = None, timeout_s: float = 90.0, **env: str) -> Done:
    """Run `sightline ARGUMENTS` to its end."""
    started_s = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started_s)


class Running:
    """`sightline ARGUMENTS` under way, in a process group of its own; its output goes to files in `folder`."""

    def __init__(self, arguments: Sequence[str | Path], folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "out.log", folder / "err.log"
        self._started_s = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                bound([*COMMAND, *map(str, arguments)]),
                cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return self._out.read_text()

    def children(self) -> list[psutil.Process]:
        """Its children and theirs."""
        found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return found

    def child(self, word: str) -> psutil.Process:
        """The child with that word in its command line."""
        (found,) = [process for process in self.children() if word in process.cmdline()]
        return found

    def until(self, happened: Callable[[], Any], timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until `happened()` while it runs."""

        def looked() -> Any:
            self.check()
            return happened()

        wait_until(looked, timeout_s)

    def until_says(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until its standard output contains `text`."""
        self.until(lambda: text in self.out, timeout_s)

    def signal(self, number: int) -> Self:
        """Send a signal to it alone."""
        self._process.send_signal(number)
        return self

    def interrupt(self) -> Self:
        """Ctrl-C in its terminal: SIGINT to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)
        return self

    def wait(self, timeout_s: float = 40.0) -> Done:
        """Its end."""
        code = self._process.wait(timeout_s)
        return Done(code, self.out, self._err.read_text(), time.monotonic() - self._started_s)

    def kill(self) -> None:
        """End it and its children at once."""
        if self._process.poll() is None:
            children = self.children()
            self._process.kill()
            for child in children:
                if child.is_running():
                    child.kill()
            self._process.wait()

    def check(self) -> None:
        """Fail if it ended."""
        code = self._process.poll()
        assert code is None, f"it ended with {code}: {self.out}{self._err.read_text()}"


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(happened: Callable[[], Any], timeout_s: float) -> None:
    """Wait until `happened()`."""
    end_s = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, outside the range that the system itself gives to connections."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(10_240, 32_000)
        if can_listen(port):
            found.add(port)
    return list(found)


def can_listen(port: int) -> bool:
    """Whether a loopback port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0 and _can_bind(port)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_ready(port: int, running: Running, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until the service at `port` says that it serves."""
    wait_serving(f"127.0.0.1:{port}", timeout_s, running.check)


def counts_of(out: str) -> Counts:
    """The counts of a run's summary, which add up."""
    (line,) = re.findall(r"^frames +(.*)$", out, re.MULTILINE)
    match = re.fullmatch(
        r"(\d+) captured = (\d+) delivered \+ (\d+) errored \+ (\d+) dropped(?: \((.+)\))?", line
    )
    assert match, line
    captured, delivered, errored, dropped = map(int, match.groups()[:4])
    pairs = (part.rsplit(" ", 1) for part in (match.group(5) or "").split(", ") if part)
    reasons = {reason: int(count) for reason, count in pairs}
    assert captured == delivered + errored + dropped
    assert dropped == sum(reasons.values())
    return Counts(captured, delivered, errored, dropped, reasons)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON Lines file; none where it is not there yet."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def assert_rows_match(rows: Sequence[dict[str, Any]], counts: Counts) -> None:
    """One row for each captured frame of the one camera, in order, and as many of each kind as was counted."""
    assert [row["frame_id"] for row in rows] == list(range(counts.captured))
    kinds = Counter(row["status"] for row in rows)
    assert (kinds["delivered"], kinds["errored"], kinds["dropped"]) == (
        counts.delivered, counts.errored, counts.dropped,
    )  # fmt: skip
    assert Counter(row["reason"] for row in rows if row["status"] == "dropped") == Counter(counts.reasons)
