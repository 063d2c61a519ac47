"""A load profile: who sends what, how much, for how long, what goes wrong meanwhile, and what has to hold.

Profiles are YAML files; profiles/schema.json says what may stand in them, profiles/ holds ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loadtest import schema

PROFILES = Path(__file__).with_name("profiles")
LONGEST_CHART = 600  # slots of time that a chart shows at most


@dataclass(frozen=True)
class CameraLoad:
    """What each camera sends: `fps` frames a second, which the relay drops when older than `max_age_ms` (0: never)."""

    fps: float = 15.0
    max_age_ms: int = 1000
    weight: int = 1

    def __str__(self) -> str:
        age = f", none older than {self.max_age_ms} ms" if self.max_age_ms else ""
        return f"{self.fps:g} frames/s{age}{_weight(self.weight)}"


@dataclass(frozen=True)
class CallLoad:
    """What each caller asks: `rate` calls a second whatever comes back; 0: one call after another."""

    rate: float = 0.0
    timeout_s: float = 10.0
    weight: int = 1

    def __str__(self) -> str:
        rate = f"{self.rate:g} calls/s" if self.rate else "one call after another"
        return f"{rate}, {self.timeout_s:g} s for an answer{_weight(self.weight)}"


def in_words(users: int) -> str:
    """`1 user`, `2 users`."""
    return f"{users} user{'s' * (users != 1)}"


def _weight(weight: int) -> str:
    return "" if weight == 1 else f", weight {weight}"


@dataclass(frozen=True)
class Stage:
    """So many users for so many seconds."""

    users: int
    for_s: float
    name: str = ""

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        return f"{in_words(self.users)} for {self.for_s:g} s{name}"


@dataclass(frozen=True)
class StackSpec:
    """The stack that is started for a run. `server_ms`: of stand-in model servers; 0: the real ones."""

    mesh: bool
    server_ms: float = 0.0
    server_workers: int = 0  # 0: no limit

    def __str__(self) -> str:
        servers = f"stand-in servers of {self.server_ms:g} ms" if self.server_ms else "real servers"
        workers = f", {self.server_workers} frames at once" if self.server_workers else ""
        return f"{servers}{workers} {'behind the mesh' if self.mesh else 'without a mesh'}"


@dataclass(frozen=True)
class Event:
    """A component of istio/ that is on from `at_s` to `until_s`, seconds after the load began; None: to the end."""

    name: str
    component: str
    at_s: float
    until_s: float | None = None

    def __str__(self) -> str:
        until = "on" if self.until_s is None else f"to {self.until_s:g} s"
        return f"{self.component} from {self.at_s:g} s {until}"


@dataclass(frozen=True)
class Goal:
    """A bound on a metric: `min` or `max` or both.

    `age_ms` is the percentile `at` of the time from when a frame was due until its result; `recovery_s` counts from
    the end of the event `during` until the last slot with a frame that was not delivered; `drift_percent` compares the
    median age of the last quarter with the first's. `user`, `version`, `during` narrow down which frames count.
    """

    metric: str
    at: float = 99.0
    user: str = ""
    version: str = ""
    during: str = ""
    min: float | None = None
    max: float | None = None

    def allows(self, value: float) -> bool:
        """Whether a value is within the bounds. NaN, which can't be measured, is not."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        name = f"{self.metric} p{self.at:g}" if self.metric == "age_ms" else self.metric
        about = (self.user, self.version, f"during {self.during}" if self.during else "")
        bounds = (
            "" if self.min is None else f">= {self.min:g}",
            "" if self.max is None else f"<= {self.max:g}",
        )
        return " ".join(part for part in (name, *about, *bounds) if part)


@dataclass(frozen=True)
class Profile:
    """See the schema for each field. `camera`, `predict`, `rest`: None where the profile has no such users."""

    name: str
    description: str
    stages: tuple[Stage, ...]
    camera: CameraLoad | None = None
    predict: CallLoad | None = None
    rest: CallLoad | None = None
    images: str = "synthetic:fps=1"
    warmup_s: float = 0.0
    stack: StackSpec | None = None
    events: tuple[Event, ...] = ()
    slo: tuple[Goal, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(f"profile {self.name}: {problem}")

    @property
    def duration_s(self) -> float:
        return sum(stage.for_s for stage in self.stages)

    @property
    def step_s(self) -> int:
        """The width of a slot of time: a second, or more in a run that is so long that a chart could not show it."""
        return max(1, round(self.duration_s / LONGEST_CHART))

    @property
    def users(self) -> dict[str, CameraLoad | CallLoad]:
        """The kinds of users that it has."""
        kinds = {"camera": self.camera, "predict": self.predict, "rest": self.rest}
        return {name: load for name, load in kinds.items() if load is not None}

    @property
    def rate_per_user(self) -> float | None:
        """Frames or calls a second that each user makes; None where they differ, or wait for answers (closed)."""
        rates = {load.fps if isinstance(load, CameraLoad) else load.rate for load in self.users.values()}
        return min(rates) or None if len(rates) == 1 else None

    def _problems(self) -> Iterator[str]:
        names = [stage.name for stage in self.stages if stage.name] + [event.name for event in self.events]
        if twice := {name for name in names if names.count(name) > 1}:
            yield f"the name {min(twice)!r} is used twice"
        if self.warmup_s >= self.duration_s:
            yield f"warmup_s: expected less than the stages' {self.duration_s:g} s, got {self.warmup_s:g}"
        if self.events and not (self.stack and self.stack.mesh):
            yield "events switch components of a mesh that the run starts: add `stack: {mesh: true}`"
        for event in self.events:
            until_s = self.duration_s if event.until_s is None else event.until_s
            if not event.at_s < until_s <= self.duration_s:
                yield f"event {event.name!r}: expected at_s < until_s <= {self.duration_s:g}, the stages' sum"
        for goal in self.slo:
            if goal.during and goal.during not in names:
                yield f"goal {goal}: no stage or event has that name"
            if goal.metric == "recovery_s" and goal.during not in [event.name for event in self.events]:
                yield f"goal {goal}: recovery is from an event: name it with `during`"
            if goal.metric == "version_percent" and not goal.version:
                yield f"goal {goal}: which version?"
            if goal.user and goal.user not in self.users:
                yield f"goal {goal}: the profile has no {goal.user} users"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can carry it; `of_dict` takes it back."""
        return asdict(self)

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Profile:
        """What `to_dict` gave."""
        kinds = {"camera": CameraLoad, "predict": CallLoad, "rest": CallLoad, "stack": StackSpec}
        lists = {"stages": Stage, "events": Event, "slo": Goal}
        values = dict(data)
        values |= {key: kind(**data[key]) for key, kind in kinds.items() if data.get(key) is not None}
        values |= {key: tuple(kind(**item) for item in data.get(key, ())) for key, kind in lists.items()}
        return cls(**values)


def load_profile(name: str) -> Profile:
    """A profile by its file, or one of ours by its name. Raises ValueError saying what is wrong, in one line."""
    path = Path(name)
    if not path.suffix and not path.exists():
        path = PROFILES / f"{name}.yaml"
        if not path.is_file():
            raise ValueError(f"no profile {name!r}; there are {', '.join(ours())}, or name a file")
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"profile {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"profile {path}: not YAML: {' '.join(str(error).split())}") from None
    return parse_profile(path.stem, data)


def ours() -> list[str]:
    """The names of the profiles that come with Sightline."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def parse_profile(name: str, data: object) -> Profile:
    """A profile from parsed YAML. Raises ValueError in one line."""
    if wrong := schema.problem(data):
        raise ValueError(f"profile {name}: {wrong}")
    assert isinstance(data, dict)
    values = {key: value for key, value in data.items() if key != "users"} | data["users"]
    values["stages"] = [stage for item in data["stages"] for stage in _stages(name, item)]
    return Profile.of_dict({"name": name, **values})


def _stages(profile: str, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One entry of `stages` as the stages that it stands for."""
    users = item["users"]
    if isinstance(users, int):
        yield dict(item)
        return
    if "name" in item:
        raise ValueError(f"profile {profile}: stages: a ramp is many stages, so it can't have a name")
    if users["to"] < users["from"]:
        raise ValueError(
            f"profile {profile}: stages: expected to >= from, got {users['from']} to {users['to']}"
        )
    for count in range(users["from"], users["to"] + 1, users.get("step", 1)):
        yield {"users": count, "for_s": item["for_s"]}
