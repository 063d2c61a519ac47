"""Does the load generator tell the truth? It measures a server whose latencies are known."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.known_server import SPAN_S, delays_s, stall_s
from loadtest.launch import LaunchConfig, launch
from loadtest.percentiles import percentile_s
from loadtest.plan import Plan, Target
from loadtest.profile import CallLoad, CameraLoad, Profile, Stage
from loadtest.results import Run, read_run
from model.child import bound

PERCENTS = (50.0, 90.0, 99.0, 99.9)
ALLOWED = 0.02
RATES = {"predict": 20.0, "camera": 10.0, "rest": 10.0}  # a second, of each user
USERS_EACH = 8


@dataclass(frozen=True)
class Truth:
    """One figure: a percentile in milliseconds or a number of frames, as it has to be, and as it was measured."""

    what: str
    figure: str
    truth: float
    measured: float

    @property
    def off(self) -> float:
        """The measured value's error as a share."""
        return self.measured / self.truth - 1

    @property
    def ok(self) -> bool:
        return abs(self.off) <= ALLOWED


def selfcheck(folder: Path, config: LaunchConfig) -> tuple[list[Truth], Run, float]:
    """Run against the known server (about 25 s); results go into `folder`. Raises RuntimeError if that fails.

    Also returns how many seconds late the server was at p99: on a machine that is that busy nothing can be measured.
    """
    seconds = SPAN_S + 4
    profile = Profile(
        "selfcheck", "A server whose latencies are known.", (Stage(USERS_EACH * len(RATES), seconds),),
        camera=CameraLoad(RATES["camera"], max_age_ms=0), predict=CallLoad(RATES["predict"]),
        rest=CallLoad(RATES["rest"]), images="synthetic:fps=1,size=320x240", warmup_s=2,
    )  # fmt: skip
    late = folder / "late.json"
    with known_server(late) as target:
        plan = Plan(profile, target, folder, samples=True)
        launch(plan, config)
    run, late_s = read_run(folder), json.loads(late.read_text())
    if not late_s:
        raise RuntimeError("the server was not asked: see what was printed above")
    return list(truths(run, due_unix_s(folder))), run, float(np.percentile(late_s, 99))


def due_unix_s(folder: Path) -> list[float]:
    """When each frame of a camera was due, as the samples of a run have it."""
    rows = [
        row for path in folder.glob("samples-*.csv") for row in csv.DictReader(path.read_text().splitlines())
    ]
    return [float(row["due_unix_s"]) for row in rows if row["user"] == "camera"]


def truths(run: Run, due_s: Sequence[float]) -> Iterator[Truth]:
    """What has to come out by the schedule, whatever the server was asked, beside what did.

    A generator that waits when it should send asks less of the server, and of its stalls: had the server told what
    was asked of it, both would agree. So frames are counted, and a stall's part is that of the moments of the schedule.
    """
    begin_s = float(math.ceil(run.began_s + run.profile.warmup_s))
    span_s = (begin_s, begin_s + SPAN_S)
    injected_s = {
        "predict, constant rate": delays_s(),
        "camera, stalls": [stall_s(due) for due in due_s if span_s[0] <= due < span_s[1]],
        "rest, constant rate": delays_s(),
    }
    for (name, seconds), (user, rate) in zip(injected_s.items(), RATES.items(), strict=True):
        window = run.store.window(*span_s, user)
        yield Truth(name, "frames", USERS_EACH * rate * window.seconds, window.offered)
        for percent in PERCENTS:
            truth_ms = 1e3 * float(np.percentile(seconds, percent)) if seconds else math.nan
            yield Truth(name, f"p{percent:g} ms", truth_ms, 1e3 * percentile_s(window.ages, percent))


@contextmanager
def known_server(late: Path) -> Iterator[Target]:
    """The server, as a process; at its end it writes into `late` how late each of its answers was, in seconds."""
    command = [sys.executable, "-m", "loadtest.known_server", "--out", str(late)]
    process = subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        grpc, rest = (f"127.0.0.1:{port}" for port in process.stdout.readline().split())
        yield Target(relay=grpc, server=grpc, rest=f"http://{rest}")
    finally:
        process.terminate()
        process.communicate()
