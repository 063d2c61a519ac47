"""What the manager knows of each model and version."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from serving.batching import BatchedModel
from serving.config import ModelConfig
from serving.errors import ServingError
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

    def settled(self) -> bool:
        """Whether one version serves, or all have ended and at least one of them with an error."""
        if self.latest() is not None:
            return True
        ended = all(version.state == State.END for version in self.versions.values())
        return ended and any(version.error is not None for version in self.versions.values())
