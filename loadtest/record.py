"""What became of each frame, as histograms per slot of time that add up exactly, whoever measured them.

A process that generates load has a Recorder. Its fragments travel as they are, from a Locust worker to the master or
within one process, into the Store, which merges them. Percentiles come out of merged HDR histograms
(http://hdrhistogram.org): averaging the percentiles of several processes would give numbers that mean nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

from loadtest.percentiles import MOST_US, histogram

DELIVERED, DROPPED, ERRORED, LOST = "delivered", "dropped", "errored", "lost"
KINDS = 20  # of messages

# Series that tell of the generator itself: how late frames were sent, and how late its event loop woke up.
GENERATOR = "generator"
LATENESS, LAG = f"{GENERATOR}/lateness", f"{GENERATOR}/lag"
STAGE = "stage"  # `stage/predict`: a part of the way of delivered frames

Fragment = dict[str, Any]  # what msgpack and JSON can carry; Recorder.flush makes it, Store.add takes it


def fate(user: str, status: str, detail: str = "") -> str:
    """The series of one kind of outcome: `camera/delivered v1`, `camera/dropped mailbox`, `predict/lost`."""
    return f"{user}/{status} {detail}".rstrip()


def split(series: str) -> tuple[str, str, str]:
    """A series' user, status and detail again."""
    user, _, outcome = series.partition("/")
    status, _, detail = outcome.partition(" ")
    return user, status, detail


class Recorder:
    """Counts in one process. A frame belongs to the slot of `step_s` seconds in which it was *due*."""

    def __init__(self, step_s: int = 1) -> None:
        self._step_s = step_s
        self.cpu_percent = 0.0  # the most of one core that this process used; see loadtest.probe
        self._begin()

    def _begin(self) -> None:
        self._offered: Counter[tuple[str, int]] = Counter()
        self._series: dict[tuple[str, int], HdrHistogram] = defaultdict(histogram)
        self._problems: Counter[str] = Counter()

    def offered(self, user: str, due_unix_s: float) -> None:
        """A frame or call is due: from now on it has to be accounted for."""
        self._offered[user, self._slot(due_unix_s)] += 1

    def add(self, series: str, due_unix_s: float, seconds: float) -> None:
        """One value of a series."""
        value_us = min(max(1, round(seconds * 1e6)), MOST_US)
        self._series[series, self._slot(due_unix_s)].record_value(value_us)

    def add_paced(self, series: str, due_unix_s: float, seconds: float, every_s: float) -> None:
        """A value of a series that has one every `every_s`: one that is longer stands for those that it displaced."""
        value_us = min(max(1, round(seconds * 1e6)), MOST_US)
        self._series[series, self._slot(due_unix_s)].record_corrected_value(value_us, round(every_s * 1e6))

    def problem(self, message: str) -> None:
        """Count what an error said. Kinds beyond 20 are "other": another end must not fill our memory."""
        self._problems[message if message in self._problems or len(self._problems) < KINDS else "other"] += 1

    def _slot(self, due_unix_s: float) -> int:
        return int(due_unix_s) // self._step_s * self._step_s

    def flush(self, pause: Callable[[], None] = lambda: None) -> Fragment:
        """All that was counted since the last time. `pause` is called between pieces of work of some 0.2 ms."""
        counts, values, problems = self._offered, self._series, self._problems
        self._begin()
        offered: dict[str, dict[str, int]] = defaultdict(dict)
        for (user, slot), count in counts.items():
            offered[user][str(slot)] = count
        series: dict[str, dict[str, str]] = defaultdict(dict)
        for (name, slot), measured in values.items():
            series[name][str(slot)] = measured.encode().decode()
            pause()
        return {
            "offered": dict(offered), "series": dict(series), "problems": dict(problems),
            "cpu_percent": self.cpu_percent,
        }  # fmt: skip


@dataclass(frozen=True)
class Window:
    """What was due in some span of time, `seconds` long.

    `delivered`: times of what was delivered, by served version ("v1"; "" where it is not told); `others`: how many
    frames each other series of fates has.
    """

    seconds: float
    offered: int
    delivered: Mapping[str, HdrHistogram]
    others: Mapping[str, int]

    @property
    def ages(self) -> HdrHistogram:
        """Of what was delivered, all versions together."""
        total = histogram()
        for values in self.delivered.values():
            total.add(values)
        return total

    def count(self, status: str) -> int:
        """How many frames had this status, whatever the detail."""
        if status == DELIVERED:
            return sum(int(values.total_count) for values in self.delivered.values())
        return sum(count for series, count in self.others.items() if split(series)[1] == status)

    @property
    def unsettled(self) -> int:
        """How many frames have no fate yet."""
        return self.offered - self.count(DELIVERED) - sum(self.others.values())

    def share(self, status: str) -> float:
        """The same as a share (0..1) of what was offered; NaN where nothing was."""
        return self.count(status) / self.offered if self.offered else float("nan")


@dataclass
class Store:
    """All fragments. `offered` and `series`: name -> slot (unix seconds) -> a count, or encoded histograms.

    In a process that generates load, `pause` lets others run between pieces of work of some 0.2 ms.
    """

    step_s: int = 1
    pause: Callable[[], None] = lambda: None
    offered: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    series: dict[str, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    totals: dict[str, HdrHistogram] = field(default_factory=lambda: defaultdict(histogram))
    problems: Counter[str] = field(default_factory=Counter)
    cpu_percent: dict[str, float] = field(default_factory=dict)  # of each process, its most
    behind_s: dict[str, float] = field(
        default_factory=dict
    )  # of each worker's clock, and the way of its report

    def add(self, fragment: Fragment, source: str = "local") -> None:
        """Take in one process' fragment."""
        for user, slots in fragment["offered"].items():
            for slot, count in slots.items():
                self.offered[user][int(slot)] += count
        for name, encoded in fragment["series"].items():
            for slot, text in encoded.items():
                self.series[name].setdefault(int(slot), []).append(text)
                self.totals[name].decode_and_add(text)
                self.pause()
        self.problems.update(fragment["problems"])
        self.behind_s.update(fragment.get("behind_s", {}))
        self.cpu_percent[source] = max(self.cpu_percent.get(source, 0.0), fragment["cpu_percent"])

    def values(self, series: str, begin_s: float = 0, end_s: float = float("inf")) -> HdrHistogram:
        """A series' values of the slots that lie between two unix times."""
        total = histogram()
        measured = self.series.get(series, {})
        for slot in self._inside(measured, begin_s, end_s):
            for text in list(measured[slot]):
                total.decode_and_add(text)
                self.pause()
        return total

    def window(self, begin_s: float, end_s: float, user: str = "") -> Window:
        """What was due in the slots that lie between two unix times, of one kind of user, or of all.

        Slots in which nothing was due count as time too. Without a bound it is the first slot that has something, or
        the last.
        """
        offered = 0
        for name, counts in self.offered.items():
            if not user or name == user:
                offered += sum(counts[slot] for slot in self._inside(counts, begin_s, end_s))
        delivered: dict[str, HdrHistogram] = {}
        others: dict[str, int] = {}
        for series in [name for name in self.series if split(name)[0] in self.offered]:
            name, status, detail = split(series)
            if user and name != user:
                continue
            values = self.values(series, begin_s, end_s)
            if not values.total_count:
                continue
            if status == DELIVERED:
                delivered.setdefault(detail, histogram()).add(values)
            else:
                others[series] = int(values.total_count)
        return Window(len(self.slots(begin_s, end_s)) * self.step_s, offered, delivered, others)

    def slots(self, begin_s: float, end_s: float) -> range:
        """Every slot that lies between two unix times, whether something was due in it or not."""
        if begin_s <= 0 or math.isinf(end_s):
            used = [slot for counts in list(self.offered.values()) for slot in list(counts)]
            begin_s = max(begin_s, min(used, default=0))
            end_s = min(end_s, max(used, default=0) + self.step_s) if used else 0
        first, last = math.ceil(begin_s / self.step_s), int(end_s // self.step_s)
        return range(first * self.step_s, last * self.step_s, self.step_s)

    def _inside(self, used: Collection[int], begin_s: float, end_s: float) -> list[int]:
        """Those of the used slots that lie between two unix times."""
        if begin_s <= 0 or math.isinf(end_s):
            return [slot for slot in list(used) if begin_s <= slot and slot + self.step_s <= end_s]
        # A report asks for each slot of a long run: not to look at all others each time.
        return [slot for slot in self.slots(begin_s, end_s) if slot in used]

    def dump(self) -> Fragment:
        """All of it as one fragment, for a file."""
        return {
            "offered": {
                user: {str(slot): n for slot, n in slots.items()} for user, slots in self.offered.items()
            },
            "series": {
                name: {
                    str(slot): self.values(name, slot, slot + self.step_s).encode().decode() for slot in slots
                }
                for name, slots in self.series.items()
            },
            "problems": dict(self.problems),
            "cpu_percent": max(self.cpu_percent.values(), default=0.0),
            "behind_s": dict(self.behind_s),
        }
