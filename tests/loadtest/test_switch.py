"""Events: switched at their times, noted, and read back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from loadtest.plan import BEGAN, EVENTS
from loadtest.profile import CameraLoad, Event, Profile, StackSpec, Stage
from loadtest.results import read_events
from loadtest.switch import Switch
from mesh.resources import MeshError

PROFILE = Profile(
    "made", "Made.", (Stage(1, 2),), camera=CameraLoad(), stack=StackSpec(True),
    events=(Event("one", "mirror", 0.1, 0.4), Event("two", "faults/delay", 0.3)),
)  # fmt: skip


class Mesh:
    """Notes what it is to use, and when."""

    def __init__(self, error: str = "") -> None:
        self.used: list[tuple[float, list[str]]] = []
        self._error = error

    def use(self, *components: Path) -> None:
        if self._error:
            raise MeshError(self._error)
        self.used.append((time.time(), [component.name for component in components]))


def follow(mesh: Any, folder: Path, seconds: float) -> tuple[Switch, float]:
    with Switch(mesh, PROFILE, folder) as switch:
        time.sleep(0.1)
        began_s = time.time()
        (folder / BEGAN).write_text(f"{began_s}\n")
        time.sleep(seconds)
        return switch, began_s


def test_events_are_switched_at_their_times_and_read_back(tmp_path: Path) -> None:
    mesh = Mesh()
    switch, began_s = follow(mesh, tmp_path, 0.7)
    switch.check()
    assert [names for _, names in mesh.used] == [["mirror"], ["mirror", "delay"], ["delay"]]
    assert [at - began_s for at, _ in mesh.used] == pytest.approx([0.1, 0.3, 0.4], abs=0.08)
    one, two = read_events(tmp_path / EVENTS, began_s + 2)
    assert (one.name, one.component, two.name, two.component) == ("one", "mirror", "two", "faults/delay")
    assert [one.begin_s - began_s, one.end_s - began_s] == pytest.approx([0.1, 0.4], abs=0.08)
    assert two.begin_s - began_s == pytest.approx(0.3, abs=0.08)
    assert two.end_s == began_s + 2  # to the end


def test_a_run_that_never_began_and_one_that_was_stopped(tmp_path: Path) -> None:
    mesh = Mesh()
    follow(mesh, tmp_path, 0)
    assert mesh.used == []
    assert read_events(tmp_path / EVENTS, 1.0) == []


def test_what_the_mesh_does_not_take_is_told(tmp_path: Path) -> None:
    switch, _ = follow(Mesh("no such route"), tmp_path, 0.3)
    with pytest.raises(MeshError, match="no such route"):
        switch.check()
