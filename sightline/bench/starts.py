"""Turns over several starts: one start of TensorFlow is some percent faster or slower than the next, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from sightline.bench.worker import Factory, Turn, start, turns_of

Services = Callable[[], AbstractContextManager[dict[str, Factory]]]  # starts some, and gives the ways to them
Turns = dict[str, list[Turn]]  # by way


def several(
    starts: int,
    in_process: dict[str, Factory],
    services: Services,
    counts: Sequence[int],
    images: Sequence[bytes],
    rounds: int,
    frames: int,
) -> list[Turns]:
    """For each number of callers in `counts`, the turns of all ways: `rounds` of `frames` frames per caller in each of
    `starts` starts. Which TensorFlow starts first makes a difference too: every other time those in process do.

    Raises RuntimeError where one cannot start.
    """
    found: list[Turns] = [{} for _ in counts]
    for number in range(starts):
        with ExitStack() as stack:
            engines = [start(stack, in_process, count) for count in counts] if number % 2 else []
            ways = stack.enter_context(services())
            engines = engines or [start(stack, in_process, count) for count in counts]
            for count, its_engines, turns in zip(counts, engines, found, strict=True):
                with ExitStack() as callers:
                    workers = [*its_engines, *start(callers, ways, count)]
                    for way, more in turns_of(workers, images, rounds, frames).items():
                        turns.setdefault(way, []).extend(more)
    return found
