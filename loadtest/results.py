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

from loadtest.profile import Profile
from loadtest.record import DELIVERED, LAG, LATENESS, Store, Window, percentile_s
from loadtest.shape import Plateau

TAIL_S = 0.5  # before the users' end: Locust's work for that delays the last results
SETTLE_S = 1.0  # of a plateau: users connect, the frames of the one before come to an end
PACKAGES = ("sightline", "locust", "gevent", "grpcio", "hdrhistogram")
# The generator's own delay may be a tenth of what it measures at p99, or 2 ms, which a busy machine's scheduler takes.
OWN_SHARE, OWN_LEAST_S = 0.1, 0.002
CPU_LIMIT = 90.0  # percent of a core: a process has one thread of Python


@dataclass(frozen=True)
class Span:
    """A named span of unix time: a stage, or an event with its component."""

    name: str
    begin_s: float
    end_s: float
    component: str = ""


@dataclass(frozen=True)
class Point:
    """What was measured with a steady number of users; times in milliseconds, of what was delivered."""

    users: int
    offered_per_s: float
    delivered_per_s: float
    delivered_percent: float
    mean_ms: float
    p50_ms: float
    p99_ms: float


@dataclass
class Run:
    """All of one run. Unix seconds. `found`: what a search came to; None for a profile's run."""

    profile: Profile
    target: Mapping[str, str]
    began_s: float
    ended_s: float
    store: Store
    plateaus: Sequence[Plateau] = ()
    events: Sequence[Span] = ()
    machine: Mapping[str, str] = field(default_factory=lambda: describe_machine())
    found: Mapping[str, Any] | None = None

    @property
    def load_end_s(self) -> float:
        """When the users were told to end."""
        return self.plateaus[-1].end_s if self.plateaus else self.ended_s

    def window(self, user: str = "", during: str = "") -> Window:
        """What was due after the warm-up, or during a named stage or event; without the last half second."""
        span = self.span(during) if during else Span("", self.began_s + self.profile.warmup_s, math.inf)
        return self.store.window(span.begin_s, min(span.end_s, self.load_end_s - TAIL_S), user)

    def slots(self) -> list[int]:
        """The slots of time that lie within the run as a whole."""
        inside = (self.began_s, self.load_end_s - self.store.step_s)
        return [slot for slot in self.store.slots() if inside[0] <= slot <= inside[1]]

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
        all_of_it = self.store.window(0, math.inf)
        return all_of_it.offered - all_of_it.count(DELIVERED) - sum(all_of_it.others.values())

    def warnings(self) -> list[str]:
        """Why the figures are not to be trusted: the generator itself was the bottleneck, or lost count."""
        return [
            *own_limits(self),
            *([f"{self.unaccounted} frames are not accounted for"] * (self.unaccounted != 0)),
        ]

    def save(self, path: Path, summary: Mapping[str, Any]) -> None:
        """Write all of it as JSON, the summary first; `read_run` takes it back."""
        data = {
            **summary,
            "profile": self.profile.to_dict(), "target": dict(self.target), "machine": dict(self.machine),
            "began_s": self.began_s, "ended_s": self.ended_s, "found": self.found,
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
            data["machine"], data["found"],
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name the folder of a run of `sightline load`") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the result of a run ({type(error).__name__}: {error})") from None


def point(store: Store, plateau: Plateau) -> Point | None:
    """A plateau's figures, without its first second and last half; None if that leaves nothing."""
    window = store.window(plateau.begin_s + SETTLE_S, plateau.end_s - TAIL_S)
    if not window.offered:
        return None
    ages = window.ages
    return Point(
        users=plateau.users,
        offered_per_s=window.offered / window.seconds,
        delivered_per_s=window.count(DELIVERED) / window.seconds,
        delivered_percent=100 * window.share(DELIVERED),
        mean_ms=float(ages.get_mean_value()) / 1e3 if ages.total_count else math.nan,
        p50_ms=percentile_s(ages, 50) * 1e3,
        p99_ms=percentile_s(ages, 99) * 1e3,
    )


def own_delay_s(run: Run, series: str) -> float:
    """How late the generator itself was at p99 (LATENESS or LAG), in the measured time; NaN if that is not known."""
    return percentile_s(
        run.store.values(series, run.began_s + run.profile.warmup_s, run.load_end_s - TAIL_S), 99
    )


def own_limits(run: Run) -> list[str]:
    """Where the generator was slower than what it measures."""
    ages = run.window().ages
    allowed_s = max(OWN_SHARE * percentile_s(ages, 99), OWN_LEAST_S) if ages.total_count else OWN_LEAST_S
    found = []
    for series, what in ((LATENESS, "sent frames"), (LAG, "noticed results")):
        own_s = own_delay_s(run, series)
        if own_s > allowed_s:
            found.append(
                f"the load generator {what} {own_s * 1e3:.1f} ms late at p99, more than {allowed_s * 1e3:.1f} ms: "
                "the figures are partly its own (give it more processes, or a machine to itself)"
            )
    cpu = max(run.store.cpu_percent.values(), default=0.0)
    if cpu > CPU_LIMIT:
        found.append(f"a process of the load generator used {cpu:.0f} % of a core: add --processes")
    return found


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
