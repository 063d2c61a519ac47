"""A way's figures beside another way's, from turns that they took in the same rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from sightline.bench.worker import Turn


@dataclass(frozen=True)
class Row:
    """One way to the engine: milliseconds of one caller, frames per second of many.

    `added_ms` to the first way's p50, and `share` (0 to 1) of its rate: medians over the rounds, of two turns of one
    round each, because what else the machine does changes from round to round.
    """

    way: str
    p50_ms: float
    p99_ms: float
    added_ms: float
    many_per_s: float
    share: float


def row(way: str, turns: tuple[list[Turn], list[Turn]], first: tuple[list[Turn], list[Turn]]) -> Row:
    """A way's figures beside the first way's, from their turns with one caller and with many, round by round."""
    ms = sorted(1e3 * s for turn in turns[0] for s in turn.latencies_s)
    added_ms = [
        1e3 * (_p50_s(ours) - _p50_s(theirs)) for ours, theirs in zip(turns[0], first[0], strict=True)
    ]
    shares = [
        ours.frames_per_s / theirs.frames_per_s for ours, theirs in zip(turns[1], first[1], strict=True)
    ]
    return Row(
        way,
        statistics.median(ms),
        ms[int(0.99 * (len(ms) - 1))],
        statistics.median(added_ms),
        statistics.median(turn.frames_per_s for turn in turns[1]),
        statistics.median(shares),
    )


def met(met: bool) -> str:
    """Whether a goal is, in a word."""
    return "met" if met else "missed"


def _p50_s(turn: Turn) -> float:
    return statistics.median(turn.latencies_s)
