"""A profile's events: components of istio/ put into the running mesh and taken out, at their times."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.plan import BEGAN, EVENTS
from loadtest.profile import Event, Profile
from mesh.resources import MeshError
from mesh.run import Mesh
from mesh.stack import component_folder, istio_folder

POLL_S = 0.05


def edges(profile: Profile) -> list[tuple[float, list[Event]]]:
    """The moments at which something changes, in seconds after the begin, with the events that are on from then."""
    ends = {event: profile.duration_s if event.until_s is None else event.until_s for event in profile.events}
    moments = sorted(
        {event.at_s for event in profile.events} | {e for e in ends.values() if e < profile.duration_s}
    )
    return [(at, [event for event in profile.events if event.at_s <= at < ends[event]]) for at in moments]


class Switch:
    """Follows the run in `folder` on a thread, and notes there what was on when. A context manager."""

    def __init__(self, mesh: Mesh, profile: Profile, folder: Path) -> None:
        istio = istio_folder()
        self._folders = {event: component_folder(event.component, istio) for event in profile.events}
        self._mesh, self._edges, self._folder = mesh, edges(profile), folder
        self._stop = threading.Event()
        self._error: MeshError | None = None
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)

    def check(self) -> None:
        """Raise MeshError if a component could not be switched."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._follow()
        except MeshError as error:
            self._error = error

    def _follow(self) -> None:
        began = self._folder / BEGAN
        while not (began.is_file() and began.read_text().endswith("\n")):
            if self._stop.wait(POLL_S):
                return
        began_s = float(began.read_text())
        on: list[Event] = []
        for at_s, wanted in self._edges:
            if self._stop.wait(max(0.0, began_s + at_s - time.time())):
                return
            self._mesh.use(*(self._folders[event] for event in wanted))
            with (self._folder / EVENTS).open("a") as file:
                file.writelines(_changes(on, wanted))
            on = wanted

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def _changes(before: list[Event], after: list[Event]) -> Iterator[str]:
    now = time.time()  # the mesh has it by now
    for event in [*before, *after]:
        if (event in before) != (event in after):
            line = {"name": event.name, "component": event.component, "on": event in after, "unix_s": now}
            yield json.dumps(line) + "\n"
