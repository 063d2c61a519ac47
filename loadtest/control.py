"""The side of a run that knows it all: Locust's master, or its only process."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import RLock

from loadtest import webui
from loadtest.plan import BEGAN, EVENTS, INTERRUPTED, Plan
from loadtest.progress import show_progress
from loadtest.record import Fragment, Recorder, Store
from loadtest.results import Run, read_events
from loadtest.search import SearchClock
from loadtest.shape import StageClock

if TYPE_CHECKING:
    from locust.env import Environment

STEP_S = 0.1


class Control:
    """Says how many users there shall be, gathers the figures, and writes the report at the end."""

    STOP_S = 6.0  # that a user gets to end: a camera waits 5 s for the last answers

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._parent = os.getppid()
        self._taking = RLock()
        self._page = ""  # Locust's own
        self._reset()

    def _reset(self) -> None:
        self.store = Store(self.plan.profile.step_s, nap)
        self.clock: StageClock | SearchClock
        if self.plan.search is not None:
            self.clock = SearchClock(self.plan.search, self.plan.profile, self.store)
        else:
            self.clock = StageClock(self.plan.profile.stages)
        self._began_s = self._ended_s = 0.0
        self._stopping = False
        self._failure = ""

    def attach(self, environment: Environment, web_ui: Any) -> None:
        """Show the figures in Locust's page, if it has one; end in good order on Ctrl-C."""
        if web_ui is not None:
            webui.extend(environment, web_ui, lambda: self.store)
            self._page = f"http://{web_ui.host}:{web_ui.port}"
            print(f"page      {self._page}", flush=True)
        gevent.signal_handler(signal.SIGINT, self._stop, web_ui)
        environment.runner.greenlet.spawn(show_progress, self)

    def _stop(self, web_ui: Any) -> None:
        if self._stopping or not self._began_s:
            os._exit(INTERRUPTED)  # a second time: at once; before the load: there is nothing to tell
        self._stopping = True
        while not self.ended:  # `users` says so to Locust
            gevent.sleep(STEP_S)
        if web_ui is not None:
            web_ui.stop()

    def fail(self, message: str) -> None:
        """A user has ended with an error. Without it the run is not what was asked for: end that too."""
        if not self._failure:
            self._failure = " ".join(message.split())
            print(f"error     a user ended, so the run does: {self._failure}", flush=True)

    def take_own(self, recorder: Recorder) -> None:
        """The figures of this process. Not before others that are on their way: the end would count half of those."""
        with self._taking:
            self.take_in(recorder.flush(nap))

    def take_in(self, fragment: Fragment, source: str = "local") -> None:
        """The figures of a process. After the end they count no more, and leave alone what is being written."""
        with self._taking:
            if not self.ended:
                self.store.add(fragment, source)

    def begin(self) -> None:
        """The load begins. With Locust's page that may happen more than once; the last run is kept."""
        if self._ended_s:
            self._reset()
        self._began_s = time.time()
        (self.plan.folder / BEGAN).write_text(f"{self._began_s}\n")

    def users(self) -> int | None:
        """How many users there shall be now; None: the run is over."""
        orphan = os.getppid() != self._parent  # who started us was killed outright
        return None if self._stopping or self._failure or orphan else self.clock.users()

    @property
    def ended(self) -> bool:
        """Whether the load has come to its end."""
        return bool(self._ended_s)

    @property
    def running_s(self) -> float:
        """Seconds since the load began; 0 before."""
        return (self._ended_s or time.time()) - self._began_s if self._began_s else 0.0

    def end(self) -> int:
        """The load is over: write what came of it, say it, and return the exit status."""
        with self._taking:
            self._ended_s = time.time()
        for plateau in self.clock.plateaus:
            plateau.end_s = plateau.end_s or self._ended_s
        found = self.clock.found() if isinstance(self.clock, SearchClock) else None
        run = Run(
            self.plan.profile, vars(self.plan.target), self._began_s, self._ended_s, self.store,
            self.clock.plateaus, read_events(self.plan.folder / EVENTS, self._ended_s), found=found,
            failure=self._failure,
        )  # fmt: skip
        from loadtest import report  # with matplotlib and scipy, for which no load has to wait

        status = report.write(run, self.plan.folder)
        if self._page and not self._stopping:
            print(f"page      {self._page} stays until Ctrl-C", flush=True)
        return status


def nap() -> None:
    """Let other greenlets run."""
    gevent.sleep(0)
