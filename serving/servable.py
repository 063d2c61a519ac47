"""What the manager knows of each model and version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from serving.batching import BatchedModel
from serving.config import ModelConfig
from serving.errors import Code, ServingError
from serving.lite import LiteModel
from serving.sessions import Model, SessionOptions

Runnable = Model | LiteModel | BatchedModel
"""What answers calls."""


class State(IntEnum):
    """A version's state, with the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """One version of one model; changed only under the manager's lock."""

    path: str
    state: State = State.START
    error: ServingError | None = None
    model: Runnable | None = None
    aspired: bool = True
    past: bool = False  # it ended before the model was listed again


@dataclass(frozen=True)
class LoadOptions:
    """How models are loaded, by the flags: `lite_interpreters` for a model.tflite, 0: it is not looked for."""

    tags: tuple[str, ...] = ("serve",)
    session: SessionOptions = field(default_factory=SessionOptions)
    lite_interpreters: int = 0
    threads: int = 0
    max_retries: int = 5
    retry_interval_s: float = 60.0
    warmup: bool = True
    warmup_iterations: int = 1
    poll_s: float = 1.0
    labels_for_unavailable: bool = False


@dataclass
class Served:
    """A configured model (config None once it is no longer listed) and its versions by number."""

    config: ModelConfig | None
    versions: dict[int, Version] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def latest(self) -> int | None:
        """The highest version that can serve."""
        return max(
            (number for number, v in self.versions.items() if v.state == State.AVAILABLE), default=None
        )

    def begin(self) -> None:
        """The model is new in a list: what became of its versions before does not count for `reached`."""
        for version in self.versions.values():
            version.past = version.state == State.END

    def reached(self) -> tuple[int, Version] | None:
        """The highest version that serves or has ended, and its number; None while there is none.

        TF Serving waits for this one only: a higher one that is still loading does not count, one that failed does.
        """
        ended = (State.AVAILABLE, State.END)
        found = [
            number for number, version in self.versions.items() if version.state in ended and not version.past
        ]
        return (max(found), self.versions[max(found)]) if found else None


def unavailable(models: Mapping[str, Served], kind: str) -> ServingError | None:
    """The error that names those of the models, each a `kind`, whose version that was `reached` does not serve."""
    failed = []
    for name, model in models.items():
        found = model.reached()
        if found is not None and found[1].state != State.AVAILABLE:
            number, version = found
            due = f" due to error: {version.error}" if version.error else ""
            failed.append(f"{{{{name: {name} version: {number}}}{due}}}, ")
    if not failed:
        return None
    text = f"{len(failed)} {kind}(s) did not become available: {{{''.join(failed)}}}"
    return ServingError(Code.UNKNOWN, text)
