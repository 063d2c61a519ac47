"""A warm-up gives way to serving, and what it leaves behind does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from serving import sessions
from serving.gently import NICE, gently


def niceness() -> dict[str, int]:
    """Of each thread of this process."""
    found = {}
    for thread in Path("/proc/self/task").iterdir():
        try:
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # it has ended
            continue
        found[thread.name] = int(fields[16])
    return found


def test_work_is_done_at_low_priority() -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert gently(lambda: os.getpriority(os.PRIO_PROCESS, 0)) == min(mine + NICE, 19)
    assert gently(lambda: os.getpriority(os.PRIO_PROCESS, 0), beside_serving=False) == mine
    with pytest.raises(ZeroDivisionError):
        gently(lambda: 1 // 0)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_a_model_that_was_warmed_gently_runs_at_full_priority(model_dir: Path) -> None:
    sessions.load(str(model_dir / "affine" / "1"))  # threads of the whole process come with the first one
    before = set(niceness())
    model = sessions.load(str(model_dir / "affine" / "1"))
    gently(lambda: model.warm("serving_default", {"x": np.array([1.0], np.float32)}))
    assert model.run("serving_default", {"x": np.array([1.0], np.float32)})["y"] == 2.5
    mine, end_s = os.getpriority(os.PRIO_PROCESS, 0), time.monotonic() + 10
    while True:  # Python has joined the gentle thread a moment before the kernel lets go of it
        made = {thread: nice for thread, nice in niceness().items() if thread not in before}
        if set(made.values()) == {mine} or time.monotonic() > end_s:
            break
    assert made
    assert set(made.values()) == {mine}


def test_each_sessions_run_waits_for_a_pause_between_others_calls(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sessions.load(str(model_dir / "affine" / "1"))
    seen: list[int] = []
    monkeypatch.setattr(sessions, "wait_for_a_pause", lambda: seen.append(sum(model.runs.values())))
    model.warm("serving_default", {"x": np.array([1.0], np.float32)}, beside_serving=True)
    assert seen == list(range(len(model.runs)))  # before each of them
    assert set(model.runs.values()) == {1}
