"""The whole stack at full load for long: whether memory and descriptors stay, and whether all frames add up."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from model.street import StreetScene
from sightline.models import ServedModel
from sightline.ports import LOOPBACK, Ports, free_port
from sightline.processes import Child, Children
from sightline.stack import plain_stack

SAMPLE_EVERY_S = 2.0
CLIP_FRAMES = 300
WARM_UP = 0.25  # share of the time that is not judged: allocators, caches and pools fill up first
# What memory may grow by over the time that is judged: an allocator's noise. A leak of 1 KB a frame at 20 frames a
# second would be 27 MB in the 22 minutes of the full soak.
GROWTH_MB, GROWTH_SHARE = 8.0, 0.02
DESCRIPTORS = 4  # a connection that is made anew while the old one goes


@dataclass(frozen=True)
class Sample:
    """A process at a moment: seconds since the start, resident megabytes, open descriptors."""

    at_s: float
    rss_mb: float
    descriptors: int


@dataclass(frozen=True)
class Course:
    """What became of one process: memory at the end, its slope, and the most descriptors early and late."""

    name: str
    rss_mb: float
    slope_mb_h: float
    growth_mb: float  # the slope times the time that was judged
    early: int
    late: int

    @property
    def steady(self) -> bool:
        """Whether neither memory nor descriptors grew."""
        return (
            self.growth_mb <= max(GROWTH_MB, GROWTH_SHARE * self.rss_mb)
            and self.late <= self.early + DESCRIPTORS
        )


def run(model: ServedModel, logs: Path, seconds: float, cameras: int, console: Console) -> bool:
    """Run server, relay and cameras for `seconds`, and print what became of them. Returns whether all is well."""
    console.print(f"soak      {cameras} cameras for {seconds / 60:.1f} minutes; more than can be inferred")
    ports = Ports(*(free_port() for _ in fields(Ports)))
    with Children(logs) as children, plain_stack(children, model, ports) as entrance:
        crew = children.start("cameras", [
            sys.executable, "-m", "sightline", "detect", *[str(clip(logs / "street.mp4"))] * cameras, "--loop",
            "--relay", entrance.address, "--jsonl", os.devnull, "--duration", f"{seconds:g}",
        ])  # fmt: skip
        samples = watch(children, crew)
        counts = relay_counts(f"http://{LOOPBACK}:{ports.http_port}/metrics")
    courses = [course(name, taken) for name, taken in samples.items()]
    console.print(table(courses))
    said = crew.log.read_text().splitlines()
    for line in said[-40:]:
        if line.startswith(("frames ", "rate ", "age ", "written ", "errors ", "failed ")):
            console.print(line, markup=False, soft_wrap=True)
    problems = accounting(said, counts) + [f"{one.name} grew" for one in courses if not one.steady]
    if crew.exit_code != 0:
        problems.append(f"the cameras exited with {crew.exit_code}: {crew.log}")
    for problem in problems:
        console.print(f"NOT WELL  {problem}", markup=False)
    if not problems:
        console.print(
            "well      memory and descriptors are steady; at cameras and relay every frame is accounted for"
        )
    return not problems


def clip(path: Path) -> Path:
    """A video of the synthetic street; the street itself keeps what it draws, up to 100 MB for each camera."""
    fps, size_wh = 15.0, (640, 360)
    street = StreetScene(3, size_wh)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    for number in range(CLIP_FRAMES):
        writer.write(street.render(number / fps).image_bgr)
    writer.release()
    return path


def watch(children: Children, crew: Child) -> dict[str, list[Sample]]:
    """Samples of each process until `crew` ends. Raises ChildDied if another one does."""
    samples: dict[str, list[Sample]] = {child.name: [] for child in children}
    started_s = time.monotonic()
    while crew.exit_code is None:
        for child in children:
            with contextlib.suppress(OSError):  # it ends just now
                samples[child.name].append(sample(child.pid, time.monotonic() - started_s))
        time.sleep(SAMPLE_EVERY_S)
        if crew.exit_code is None:
            children.check()
    return samples


def sample(pid: int, at_s: float) -> Sample:
    """A process now, from Linux' /proc. Raises OSError if it is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    if not pages:
        raise ProcessLookupError(f"process {pid} has ended")  # and nobody has asked for its exit code yet
    return Sample(at_s, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd")))


def course(name: str, samples: Sequence[Sample]) -> Course:
    """Memory and descriptors after the warm-up. Raises ValueError for less than four samples."""
    judged = samples[int(WARM_UP * len(samples)) :]
    if len(judged) < 3:
        raise ValueError(f"soak: expected at least {4 * SAMPLE_EVERY_S:g} seconds")
    slope, _ = statistics.linear_regression([s.at_s for s in judged], [s.rss_mb for s in judged])
    third = len(judged) // 3
    return Course(
        name, judged[-1].rss_mb, slope * 3600, slope * (judged[-1].at_s - judged[0].at_s),
        max(s.descriptors for s in judged[:third]), max(s.descriptors for s in judged[-third:]),
    )  # fmt: skip


def relay_counts(url: str) -> Counter[str]:
    """Of the relay's metrics: frames received and pending, and by their outcome."""
    page = urllib.request.urlopen(url, timeout=10).read().decode()
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for one in family.samples:
            if one.name == "sightline_relay_frames_total":
                counts[one.labels["outcome"]] += int(one.value)
            elif one.name in {"sightline_relay_frames_received_total", "sightline_relay_pending_frames"}:
                counts[one.name.split("_")[-2]] += int(one.value)
    return counts


def accounting(said: Sequence[str], relay: Counter[str]) -> list[str]:
    """What does not add up, in what the cameras said at their end and the relay's counts."""
    pattern = r"frames +(\d+) captured = (\d+) delivered \+ (\d+) errored \+ (\d+) dropped"
    found = [match for line in said if (match := re.match(pattern, line))]
    if not found:
        return ["the cameras told no account of their frames"]
    captured, delivered, errored, dropped = map(int, found[-1].groups())
    problems = []
    if captured != delivered + errored + dropped:
        problems.append(f"cameras: {found[-1].group()}")
    settled = relay["delivered"] + relay["errored"] + relay["dropped"]
    if relay["received"] != settled + relay["pending"]:
        problems.append(f"relay: {relay['received']} received, {settled} settled, {relay['pending']} pending")
    if relay["delivered"] != delivered:
        problems.append(f"the relay delivered {relay['delivered']}, the cameras got {delivered}")
    return problems


def table(courses: Sequence[Course]) -> Table:
    """A row per process."""
    printed = Table(box=None, pad_edge=False, header_style="dim")
    printed.add_column("process", no_wrap=True)
    for title in ("RSS MB", "slope MB/h", "grew MB", "descriptors early", "late", ""):
        printed.add_column(title, justify="right", no_wrap=True)
    for one in courses:
        printed.add_row(
            one.name, f"{one.rss_mb:.0f}", f"{one.slope_mb_h:+.1f}", f"{one.growth_mb:+.1f}", str(one.early),
            str(one.late), "steady" if one.steady else "GREW",
        )  # fmt: skip
    return printed
