"""What a rollout remembers on the disk, so that its controller may be killed at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mesh.run.rollout import replace

IN_TIME = 0.99  # what p99 means
HISTORY = "history.jsonl"


class Phase(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling back"  # the weight is about to be 0; a controller that starts now does that first
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"
    PROMOTED = "promoted"

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self in (Phase.ROLLED_BACK, Phase.ABORTED, Phase.PROMOTED)


class Command(StrEnum):
    """What a person tells a running controller."""

    PAUSE = "pause"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(slots=True)
class State:
    """`config`: of RolloutConfig.as_json. `step`: index of the present one. `report`: folder of its records. `in_time`:
    the share of its answers that the candidate had to give in time in the step before (Window.in_time). `version`: what
    the candidate called itself then."""

    config: dict[str, Any]
    report: str
    started_unix_s: float
    phase: Phase = Phase.RUNNING
    step: int = 0
    reason: str = ""
    in_time: float = IN_TIME
    version: str = ""


class Store(Protocol):
    """What a controller writes and reads."""

    def save(self, state: State) -> None:
        """Remember it, before anything is done that follows from it."""

    def command(self) -> Command | None:
        """What a person asked for since the last time."""

    def record(self, entry: dict[str, Any]) -> None:
        """A line of the rollout's history."""


class FileStore:
    """state.json and the command beside the weights; the history in the report's folder, a JSON line each."""

    def __init__(self, folder: Path) -> None:
        self._state, self._command, self._lock = folder / "state.json", folder / "command", folder / "lock"
        self._report: Path | None = None

    def load(self) -> State | None:
        """The rollout of this mesh, if there was one. Raises ValueError for a file that makes no sense."""
        try:
            found = json.loads(self._state.read_text())
            state = State(**{**found, "phase": Phase(found["phase"])})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._state}: not the state of a rollout ({error}); remove it") from None
        self._report = Path(state.report)
        return state

    def save(self, state: State) -> None:
        self._report = Path(state.report)
        replace(self._state, json.dumps(asdict(state), indent=1))

    def tell(self, command: Command) -> None:
        """Leave a command for the controller."""
        replace(self._command, command)

    def command(self) -> Command | None:
        try:
            text = self._command.read_text()
            self._command.unlink()
            return Command(text)
        except (OSError, ValueError):
            return None

    def record(self, entry: dict[str, Any]) -> None:
        assert self._report is not None
        with (self._report / HISTORY).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    @contextmanager
    def owned(self) -> Iterator[bool]:
        """Yields whether this process alone is the controller now; the kernel lets go when it dies."""
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def read_history(report: Path) -> list[dict[str, Any]]:
    """The lines, without one that a kill cut off."""
    found = []
    with contextlib.suppress(OSError):
        for line in (report / HISTORY).read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
