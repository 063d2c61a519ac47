"""One run's figures: what was measured, when there were how many users, and what the profile's goals say to it."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from loadtest.percentiles import known, mean_s, percentile_s
from loadtest.profile import Profile
from loadtest.record import DELIVERED, Store, Window
from loadtest.shape import TAIL_S, Plateau

PACKAGES = ("sightline", "locust", "gevent", "grpcio", "hdrhistogram")


@dataclass(frozen=True)
class Span:
    """A named span of unix time: a stage, or an event with its component."""

    name: str
    begin_s: float
    end_s: float
    component: str = ""


@dataclass(frozen=True)
class Point:
    """What was measured with a steady number of users; times in milliseconds, of what was delivered; NaN: too few."""

    users: int
    offered_per_s: float
    delivered_per_s: float
    delivered_percent: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    held: bool | None = None  # a search's goals


@dataclass
class Run:
    """All of one run. Unix seconds. `found`: what a search came to; None for a profile's run. `failure`: of a user."""

    profile: Profile
    target: Mapping[str, str]
    began_s: float
    ended_s: float
    store: Store
    plateaus: Sequence[Plateau] = ()
    events: Sequence[Span] = ()
    machine: Mapping[str, str] = field(default_factory=lambda: describe_machine())
    found: Mapping[str, Any] | None = None
    failure: str = ""

    @property
    def load_end_s(self) -> float:
        """When the users were told to end."""
        return self.plateaus[-1].end_s if self.plateaus else self.ended_s

    def window(self, user: str = "", during: str = "") -> Window:
        """What was due after the warm-up, or during a named stage or event; without the last half second.

        Of a search: in the last trial of its answer. All trials together, of any number of users, would say nothing.
        """
        if answers := self.answers:
            return self.store.window(*answers[-1].steady_s, user)
        span = self.span(during) if during else Span("", self.began_s + self.profile.warmup_s, math.inf)
        return self.store.window(span.begin_s, min(span.end_s, self.load_end_s - TAIL_S), user)

    @property
    def answers(self) -> list[Plateau]:
        """A search's trials of what it came to; none where there is no answer."""
        users = self.found["users"] if self.found is not None else None
        return [plateau for plateau in self.plateaus if users and plateau.users == users]

    @property
    def decisive(self) -> list[Plateau]:
        """Where the generator has to be fast enough: all plateaus; of a search those next to its answer."""
        if self.found is None:
            return list(self.plateaus)
        failed = [p.users for p in self.plateaus if p.users > (self.found["users"] or 0)]
        return [*self.answers, *(p for p in self.plateaus if failed and p.users == min(failed))]

    def slots(self) -> Sequence[int]:
        """The slots of time that lie within the run as a whole."""
        return self.store.slots(self.began_s, self.load_end_s)

    def span(self, name: str) -> Span:
        """A stage or event by its name. One that did not happen is empty."""
        stages = [Span(p.name, p.begin_s, p.end_s) for p in self.plateaus if p.name]
        return next((span for span in (*stages, *self.events) if span.name == name), Span(name, 0.0, 0.0))

    def points(self) -> list[Point]:
        """One for each plateau that lasted long enough to say something."""
        return [p for plateau in self.plateaus if (p := point(self.store, plateau)) is not None]

    @property
    def unaccounted(self) -> int:
        """Frames that were due and whose fate nobody told: 0, or a generating process died."""
        return self.store.window(0, math.inf).unsettled

    def save(self, path: Path, summary: Mapping[str, Any]) -> None:
        """Write all of it as JSON, the summary first; `read_run` takes it back."""
        data = {
            **summary,
            "profile": self.profile.to_dict(), "target": dict(self.target), "machine": dict(self.machine),
            "began_s": self.began_s, "ended_s": self.ended_s, "found": self.found, "failure": self.failure,
            "plateaus": [asdict(plateau) for plateau in self.plateaus],
            "events": [asdict(event) for event in self.events],
            "histograms": self.store.dump(),
        }  # fmt: skip
        path.write_text(json.dumps(data, indent=1, allow_nan=True))


def read_run(folder: Path) -> Run:
    """A run from its folder, or from its JSON file. Raises ValueError in one line."""
    from loadtest.plan import RESULT

    path = folder / RESULT if folder.is_dir() else folder
    try:
        data = json.loads(path.read_text())
        profile = Profile.of_dict(data["profile"])
        store = Store(profile.step_s)
        store.add(data["histograms"])
        return Run(
            profile, data["target"], data["began_s"], data["ended_s"], store,
            [Plateau(**item) for item in data["plateaus"]], [Span(**item) for item in data["events"]],
            data["machine"], data["found"], data.get("failure", ""),
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name the folder of a run of `sightline load`") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the result of a run ({type(error).__name__}: {error})") from None


def read_events(path: Path, ended_s: float) -> list[Span]:
    """What was switched on and off in the mesh, if anything was: lines of name, component, on, unix time."""
    spans: dict[str, Span] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        event = json.loads(line)
        name, component, unix_s = event["name"], event["component"], event["unix_s"]
        begin_s, end_s = (unix_s, ended_s) if event["on"] else (spans[name].begin_s, unix_s)
        spans[name] = Span(name, begin_s, end_s, component)
    return list(spans.values())


def point_window(store: Store, plateau: Plateau) -> Window:
    """What was due in a plateau while its users were steady."""
    return store.window(*plateau.steady_s)


def point(store: Store, plateau: Plateau) -> Point | None:
    """A plateau's figures while its users were steady; None if that leaves nothing."""
    window = point_window(store, plateau)
    if not window.offered:
        return None
    ages = window.ages
    return Point(
        users=plateau.users,
        offered_per_s=window.offered / window.seconds,
        delivered_per_s=window.count(DELIVERED) / window.seconds,
        delivered_percent=100 * window.share(DELIVERED),
        mean_ms=mean_s(ages) * 1e3,
        p50_ms=percentile_s(ages, 50) * 1e3,
        p99_ms=percentile_s(ages, 99) * 1e3 if known(ages, 99) else math.nan,
        held=plateau.held,
    )


def describe_machine() -> dict[str, str]:
    """The generating machine, and the versions that matter."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
    }
    return found | {name: metadata.version(name) for name in PACKAGES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
