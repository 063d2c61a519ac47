"""Child processes of the stack: their deaths are told, none is left behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from sightline import processes
from sightline.processes import Child, ChildDied, Children
from tests.sightline.stack import wait_until

SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)


def start(children: Children, name: str, *command: str) -> Child:
    """Start it, and wait until it says that it is up."""
    child = children.start(name, command)
    wait_until(lambda: "up" in child.log.read_text(), 20)
    return child


def pids() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != "zombie"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "part exited with 3; the end of"),
        ("import os; os.kill(os.getpid(), 9)", "part was ended by SIGKILL; the end of"),
        ("print(*range(100), sep=chr(10)); raise SystemExit(3)", "\n  88\n"),
    ],
)
def test_a_death_is_told_with_the_end_of_the_log(tmp_path: Path, code: str, said: str) -> None:
    with Children(tmp_path / "logs") as children:
        children.check()
        child = children.start("part", (sys.executable, "-c", code))
        wait_until(lambda: child.exit_code is not None, 20)
        with pytest.raises(ChildDied) as died:
            children.check()
        assert said in str(died.value)
        assert "\n  87\n" not in str(died.value)


def test_leaving_stops_all(tmp_path: Path) -> None:
    before = pids()
    with Children(tmp_path / "logs") as children:
        start(children, "one", *SLEEP)
        start(children, "two", *SLEEP)
        children.check()
        assert len(pids() - before) == 2
    assert pids() == before


def test_one_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_GRACE_S", 0.5)
    before = pids()
    with Children(tmp_path / "logs") as children:
        start(children, "stubborn", *STUBBORN)
        started_s = time.monotonic()
    assert 0.4 < time.monotonic() - started_s < 5
    assert pids() == before


def test_a_second_ctrl_c_kills_what_still_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = pids()
    children = Children(tmp_path / "logs")
    start(children, "one", *SLEEP)
    start(children, "stubborn", *STUBBORN)
    monkeypatch.setattr(Child, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        children.__exit__(None, None, None)
    assert pids() == before


def test_what_a_child_leaves_behind_ends_too(tmp_path: Path) -> None:
    before = pids()
    leaves = (
        "import subprocess, time; print('up', flush=True); subprocess.Popen(['sleep', '60']); time.sleep(60)"
    )
    with Children(tmp_path) as children:
        start(children, "part", sys.executable, "-c", leaves)
        wait_until(lambda: len(pids() - before) == 2, 20)
        left = pids() - before
    wait_until(
        lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in left),
        5,
    )
