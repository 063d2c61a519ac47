"""How often a rollout decides wrongly: hundreds of simulated ones, by the controller and the gates that run for real.

    python -m sightline.rollout.simulate [ROLLOUTS]

The frames are made up, with what makes such statistics hard: an object stays in sight for seconds, and a model that
misses it misses it in every frame, so a hundred frames are not a hundred draws.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from client.relay.shadow_compare import Difference
from client.relay.shadow_evidence import Block
from client.relay.shadow_gate import checks_of, summary
from model.child import end_with
from sightline.rollout.config import RolloutConfig
from sightline.rollout.controller import Clock, Controller
from sightline.rollout.gates import gates_file, read_gates
from sightline.rollout.source import Reading
from sightline.rollout.state import Command, Phase, State

ROLLOUTS = 200
CAMERAS, FPS, SHADOW = 4, 15.0, 0.2
OBJECTS = 10  # in sight of a camera, on average
SEEN_S = 3.0  # how long one stays
POLL_S = 5.0
LABELS = ("person", "car", "bus", "bicycle")
MIX = (0.4, 0.35, 0.1, 0.15)
# A share of the objects is seen by one of the two only, IoU and score of the others move a little. That is more than
# what bf16 does to fp32's detections of the synthetic street (`make demo-rollout`): 0.002, 0.998, 0.0004.
ALONE, IOU, IOU_SD, DRIFT_SD = 0.005, 0.975, 0.02, 0.01


@dataclass(frozen=True)
class Candidate:
    """`worse`: share of the objects that it misses for as long as they are in sight, on top of what bf16 does."""

    name: str
    worse: float


CANDIDATES = (
    Candidate("identical", 0.0),
    Candidate("2 % worse", 0.02),
    Candidate("5 % worse", 0.05),  # about where the limit is: either end is right
    Candidate("10 % worse", 0.1),
)


@dataclass(slots=True)
class _Object:
    label: str
    camera: int
    until_s: float
    fate: str  # same, missed or extra
    iou: float
    drift: float


@dataclass
class World:
    """Cameras, their objects, and the stack's counters, on a clock of its own. Is source, weights, store and clock."""

    candidate: Candidate
    config: RolloutConfig
    rng: np.random.Generator
    now_s: float = 0.0
    weight: int = 20
    blocks: list[Block] = field(default_factory=list)
    frames: int = 0
    served: int = 0  # by the candidate
    shadows: int = 0
    _objects: list[_Object] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass, a second at once."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self._second()
            self.now_s += 1.0

    def set_weight(self, to: str, percent: int) -> None:
        self.weight = percent

    def read(self, window_s: float) -> Reading:
        gates = self.config.gates.agreement
        assert gates is not None
        blocks = [block for block in self.blocks if block.number >= self.now_s - window_s]
        report = {"enabled": True, **summary(blocks, checks_of(blocks, gates))}
        ok = self.served + self.shadows
        return Reading(ok, 0, self.served, self.served, weight=self.weight, agreement=report)

    def save(self, state: State) -> None:
        """Nobody asks."""

    def command(self) -> Command | None:
        return None

    def record(self, entry: dict[str, Any]) -> None:
        """Nobody asks."""

    def _second(self) -> None:
        """Objects come and go; a share of the frames is compared."""
        self._objects = [one for one in self._objects if one.until_s > self.now_s]
        count, rng = int(self.rng.poisson(CAMERAS * OBJECTS / SEEN_S)), self.rng
        # One draw decides: missed by the candidate, seen by it alone, or seen by both.
        draws = rng.random(count)
        fates = np.where(draws < self.candidate.worse, "missed", np.where(draws > 1 - ALONE, "extra", "same"))
        columns = (
            rng.choice(LABELS, count, p=MIX).tolist(),
            rng.integers(CAMERAS, size=count).tolist(),
            (self.now_s + rng.exponential(SEEN_S, count)).tolist(),
            fates.tolist(),
            np.clip(rng.normal(IOU, IOU_SD, count), 0.5, 1.0).tolist(),
            rng.normal(0.0, DRIFT_SD, count).tolist(),
        )
        self._objects += [_Object(*row) for row in zip(*columns, strict=True)]
        frames = int(CAMERAS * FPS)
        served = int(self.rng.binomial(frames, self.weight / 100))
        self.frames += frames
        self.served += served
        compared = int(self.rng.binomial(frames - served, SHADOW))
        self.shadows += compared
        if compared:
            self.blocks.append(self._compare(compared))

    def _compare(self, frames: int) -> Block:
        """So many frames of this second, each of one camera: its objects' fates, once per frame."""
        shown = np.bincount(self.rng.integers(CAMERAS, size=frames), minlength=CAMERAS)
        found = Difference()
        for one in self._objects:
            times = int(shown[one.camera])
            if one.fate == "same":
                found.same[one.label] += times
                found.pairs += times
                found.iou += times * one.iou
                found.drift += times * one.drift
            else:
                counts = found.missed if one.fate == "missed" else found.extra
                counts[one.label, "medium"] += times
        return Block(int(self.now_s), found, frames, float(self.rng.normal(0.0, 0.1) * frames))


def simulate(candidate: Candidate, config: RolloutConfig, seed: int) -> State:
    """One rollout, to its end."""
    world = World(candidate, config, np.random.default_rng(seed))
    world.sleep(3 * SEEN_S)
    clock = Clock(lambda: world.now_s, world.sleep, POLL_S)
    state = State({}, "", 0.0)
    return Controller(config, state, (world, world, world), lambda line: None, clock).run()


def rates(rollouts: int, say: Callable[[str], None]) -> dict[str, float]:
    """The share of each candidate's rollouts that were promoted; prints a line each."""
    config = RolloutConfig(read_gates(gates_file()))
    setting = f"{CAMERAS} cameras x {FPS:g} fps, {SHADOW:.0%} shadowed"
    say(f"{rollouts} rollouts each: steps 5, 20, 50, 100 %, 30 s each; {setting}")
    say(f"{'candidate':<12}{'promoted':>10}{'rolled back':>13}  at step")
    found = {}
    spawn = get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawn, initializer=end_with, initargs=(os.getpid(),)) as pool:
        for number, candidate in enumerate(CANDIDATES):
            seeds = range(1000 * number, 1000 * number + rollouts)
            ends = list(pool.map(partial(simulate, candidate, config), seeds, chunksize=5))
            steps = Counter(config.steps[end.step] for end in ends if end.phase is Phase.ROLLED_BACK)
            promoted = sum(end.phase is Phase.PROMOTED for end in ends)
            where = ", ".join(f"{step} %: {count}" for step, count in sorted(steps.items()))
            say(f"{candidate.name:<12}{promoted:>10}{rollouts - promoted:>13}  {where}")
            found[candidate.name] = promoted / rollouts
    return found


if __name__ == "__main__":
    rates(int(sys.argv[1]) if len(sys.argv) > 1 else ROLLOUTS, print)
