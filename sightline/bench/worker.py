"""One engine in a process of its own, which works only when it is its turn.

In one process the engines' thread pools would spin and starve each other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

Detect = Callable[[bytes], Any]  # JPEG bytes in; what comes out is not looked at
Factory = Callable[[int], list[Detect]]  # a number of concurrent callers -> what each of them calls
SETTLE_FRAMES = 2  # at the start of each turn, not counted: caches and threads wake up


@dataclass(frozen=True)
class Turn:
    """What one turn measured: seconds of each frame, and frames per second of all callers together."""

    latencies_s: tuple[float, ...]
    frames_per_s: float


class Worker:
    """A process with an engine of `factory(callers)` inside. A context manager."""

    def __init__(self, name: str, factory: Factory, callers: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(factory, callers, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until the engine is built. Raises RuntimeError with its reason where it could not be."""
        self._answer()

    def turn(self, images: Sequence[bytes], frames: int) -> Turn:
        """Each caller detects `frames` frames, one after the other."""
        self._pipe.send((list(images), frames))
        answer = self._answer()
        assert isinstance(answer, Turn)
        return answer

    def _answer(self) -> object:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: its process died") from None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()


def take_turns(
    engines: dict[str, Factory], callers: int, images: Sequence[bytes], rounds: int, frames: int
) -> dict[str, list[Turn]]:
    """`rounds` turns of `frames` frames per caller for each engine, one engine after the other in each round."""
    with ExitStack() as stack:
        return turns_of(start(stack, engines, callers), images, rounds, frames)


def start(stack: ExitStack, engines: dict[str, Factory], callers: int) -> list[Worker]:
    """A worker for each engine, all of them ready; `stack` ends them."""
    workers = [stack.enter_context(Worker(name, make, callers)) for name, make in engines.items()]
    for worker in workers:
        worker.ready()
    return workers


def turns_of(
    workers: Sequence[Worker], images: Sequence[bytes], rounds: int, frames: int
) -> dict[str, list[Turn]]:
    """The same of workers that are ready."""
    turns: dict[str, list[Turn]] = {worker.name: [] for worker in workers}
    for worker in workers:
        worker.turn(images, frames)  # compiles and warms up, not counted
    for _ in range(rounds):
        for worker in workers:
            turns[worker.name].append(worker.turn(images, frames))
    return turns


def _work(factory: Factory, callers: int, pipe: Connection) -> None:
    try:
        engines = factory(callers)
        pipe.send(None)
        while (task := _next_task(pipe)) is not None:
            pipe.send(_turn(engines, *task))
    except (BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:  # told to the parent, whose business it is
        with contextlib.suppress(OSError):
            pipe.send(f"{type(error).__name__}: {error}")


def _next_task(pipe: Connection) -> tuple[Sequence[bytes], int] | None:
    """Images and how many frames to detect; None once the parent is gone."""
    try:
        images, frames = pipe.recv()
    except (EOFError, OSError):
        return None
    return images, frames


def _turn(engines: list[Detect], images: Sequence[bytes], frames: int) -> Turn:
    """All callers begin together; the rate counts from there until each has done its frames."""
    latencies: list[float] = []
    begin = threading.Barrier(len(engines) + 1)

    errors: list[Exception] = []

    def caller(detect: Detect) -> None:
        try:
            for i in range(SETTLE_FRAMES):
                detect(images[i % len(images)])
            begin.wait()
            for i in range(frames):
                started_s = time.perf_counter()
                detect(images[i % len(images)])
                latencies.append(time.perf_counter() - started_s)
        except Exception as error:  # raised by the turn, not by a thread that nobody asks
            errors.append(error)
            begin.abort()

    threads = [threading.Thread(target=caller, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        begin.wait()
    started_s = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Turn(tuple(latencies), frames * len(engines) / (time.perf_counter() - started_s))
