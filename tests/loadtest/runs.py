"""Runs that nobody ran, with figures that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from loadtest.profile import CameraLoad, Profile, Stage
from loadtest.record import DELIVERED, LAG, LATENESS, Recorder, Store, fate
from loadtest.results import Run
from loadtest.shape import Plateau

BEGAN_S = 1_000_000.0
PROFILE = Profile("made", "Made.", (Stage(1, 60),), camera=CameraLoad(10), warmup_s=2)


def made_run(
    seconds: int = 60,
    age_ms: Callable[[int, np.random.Generator], float] = lambda _second, rng: float(rng.lognormal(4, 0.2)),
    seed: int = 0,
    own_ms: float = 0.5,
    profile: Profile = PROFILE,
    status: Callable[[int], str] = lambda _frame: DELIVERED,
) -> Run:
    """Ten frames a second, delivered at the given ages unless `status` of a frame's number says otherwise; the
    generator's own delay is `own_ms`."""
    rng, recorder, store = np.random.default_rng(seed), Recorder(), Store()
    for frame in range(10 * seconds):
        due_s = BEGAN_S + frame / 10
        recorder.offered("camera", due_s)
        version = "v1" if status(frame) == DELIVERED else ""
        recorder.add(fate("camera", status(frame), version), due_s, age_ms(frame // 10, rng) / 1e3)
        for series in (LATENESS, LAG):
            recorder.add(series, due_s, own_ms / 1e3)
    store.add(recorder.flush())
    plateaus = [Plateau(1, BEGAN_S, BEGAN_S + seconds)]
    return Run(profile, {"relay": "nowhere:1"}, BEGAN_S, BEGAN_S + seconds, store, plateaus)


def assert_percentile(measured_ms: float, samples_ms: Sequence[float], percent: float) -> None:
    """The histogram's value is that of its rank among the samples, give or take one rank and 0.2 %."""
    ordered = sorted(samples_ms)
    rank = round(percent / 100 * len(ordered)) - 1
    least, most = ordered[max(0, rank - 1)], ordered[min(len(ordered) - 1, rank + 1)]
    assert 0.998 * least <= measured_ms <= 1.002 * most, (percent, measured_ms, least, most)
