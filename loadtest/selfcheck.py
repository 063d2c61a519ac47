"""Does the load generator tell the truth? It measures a server whose latencies are known."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.known_server import PERIOD_S
from loadtest.launch import LaunchConfig, launch
from loadtest.plan import Plan, Target
from loadtest.profile import CallLoad, CameraLoad, Profile, Stage
from loadtest.record import percentile_s
from loadtest.results import Run, read_run
from model.child import bound

PERCENTS = (50.0, 90.0, 99.0, 99.9)
ALLOWED = 0.02
PERIODS = 5  # of the server's stalls that are measured
USERS = 16


@dataclass(frozen=True)
class Truth:
    """One percentile in milliseconds: as it was injected, and as it was measured."""

    what: str
    percent: float
    injected_ms: float
    measured_ms: float

    @property
    def off(self) -> float:
        """The measured value's error as a share."""
        return self.measured_ms / self.injected_ms - 1

    @property
    def ok(self) -> bool:
        return abs(self.off) <= ALLOWED


def selfcheck(folder: Path, config: LaunchConfig, *, samples: bool = False) -> tuple[list[Truth], Run]:
    """Run against the known server (about 25 s); results go into `folder`. Raises RuntimeError if that fails.

    `samples`: as in Plan.
    """
    seconds = PERIOD_S * PERIODS + 4
    profile = Profile(
        "selfcheck", "A server whose latencies are known.", (Stage(USERS, seconds),),
        camera=CameraLoad(fps=10, max_age_ms=0), predict=CallLoad(rate=20), images="synthetic:fps=1,size=320x240",
        warmup_s=2,
    )  # fmt: skip
    took = folder / "injected.json"
    with _known_server(took) as address:
        plan = Plan(profile, Target(relay=address, server=address), folder, samples)
        launch(plan, config)
    run = read_run(folder)
    begin_s = math.ceil(run.began_s + run.profile.warmup_s)
    span_s = (float(begin_s), begin_s + PERIOD_S * PERIODS)
    found = json.loads(took.read_text())
    names = {"predict": "predict, constant rate", "camera": "camera, stalls"}
    return [
        truth for user, name in names.items() for truth in _truths(name, run, user, span_s, found[user])
    ], run


def _truths(
    name: str, run: Run, user: str, span_s: tuple[float, float], took: Sequence[tuple[float, float]]
) -> Iterator[Truth]:
    """Percentiles by the server's clock, and by the generator's."""
    took_s = [seconds for arrived_s, seconds in took if span_s[0] <= arrived_s < span_s[1]]
    ages = run.store.window(*span_s, user).ages
    if not took_s:
        raise RuntimeError("the server was not asked: see what was printed above")
    for percent in PERCENTS:
        injected_s = float(np.percentile(took_s, percent))
        yield Truth(name, percent, 1e3 * injected_s, 1e3 * percentile_s(ages, percent))


@contextmanager
def _known_server(out: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "loadtest.known_server", "--out", str(out)]
    process = subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.communicate()
