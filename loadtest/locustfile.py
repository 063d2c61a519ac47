"""What Locust loads in each of its processes: the users of the plan, its shape, and the way of figures to the master.

`sightline load` starts Locust with it, or by hand: SIGHTLINE_LOAD_PLAN=plan.json locust -f loadtest/locustfile.py
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

import gevent
import grpc.experimental.gevent
from locust import LoadTestShape, events, runners
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.control import Control, nap
from loadtest.images import load_images
from loadtest.plan import FAILED, INTERRUPTED, Plan
from loadtest.probe import watch_loop
from loadtest.record import Recorder
from loadtest.shape import SPAWN_RATE
from loadtest.users import CameraUser, PredictUser, RestUser, Session, enlist
from model.child import end_with

__all__ = ["CameraUser", "PredictUser", "RestUser", "Shape"]

FLUSH_S = 1.0
CHANNELS = 5000  # of a process, at most; threads are made when they are needed

runners.WORKER_REPORT_INTERVAL = FLUSH_S  # Locust's 3 s would keep a search waiting

plan = Plan.of_environment()
recorder = Recorder(plan.profile.step_s)
control = Control(plan)
# Before Locust forks its workers, which share the pictures' memory then.
session = Session(plan, load_images(plan.profile.images), recorder)
enlist(session)
os.register_at_fork(after_in_child=partial(end_with, os.getpid()))  # workers of --processes


class Shape(LoadTestShape):
    """The users of the plan's stages, or of its search."""

    def tick(self) -> tuple[int, float] | None:
        """Asked by Locust about once a second."""
        users = control.users()
        if users is not None:
            return users, SPAWN_RATE
        # Locust would tell its workers to quit at once and not wait for the frames that are under way.
        self.runner.stop()
        return None


@events.init.add_listener
def begin(environment: Environment, runner: Any, web_ui: Any, **_: Any) -> None:
    """Once per process, after Locust has forked its workers."""
    # gRPC waits for each channel's events on a thread of gevent's pool. With the 10 that it has by itself, the answers
    # to the eleventh camera wait for the other ten's.
    gevent.get_hub().threadpool.maxsize = CHANNELS
    grpc.experimental.gevent.init_gevent()
    environment.stop_timeout = control.STOP_S
    session.fire = environment.events.request.fire
    if isinstance(runner, MasterRunner):
        environment.events.worker_report.add_listener(_take_in)
    elif isinstance(runner, WorkerRunner):
        environment.events.report_to_master.add_listener(_report)
        gevent.signal_handler(signal.SIGINT, runner.quit)
    else:
        runner.greenlet.spawn(_flush_here)
    if isinstance(runner, WorkerRunner):
        # What no user foresees, from Locust, which would go on without it.
        environment.events.user_error.add_listener(
            lambda user_instance, exception, tb: runner.send_message(FAILED, repr(exception))
        )
    else:
        environment.events.user_error.add_listener(
            lambda user_instance, exception, tb: control.fail(repr(exception))
        )
        runner.register_message(FAILED, lambda environment, msg, **_: control.fail(msg.data))
        control.attach(environment, web_ui)
    if signal.SIGINT in signal.sigpending():  # loadtest.launch put it off until here
        os._exit(INTERRUPTED)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _report(client_id: str, data: dict[str, Any]) -> None:
    data["sightline"] = recorder.flush(nap) | {"unix_s": time.time()}


def _take_in(client_id: str, data: dict[str, Any]) -> None:
    """A worker's figures. The least time that one took to come tells how far its clock is behind the master's."""
    fragment = data["sightline"]
    behind_s = time.time() - fragment["unix_s"]
    fragment["behind_s"] = {client_id: min(behind_s, control.store.behind_s.get(client_id, behind_s))}
    control.take_in(fragment, client_id)


def _flush_here() -> None:
    while True:
        gevent.sleep(FLUSH_S)
        control.take_own(recorder)


@events.test_start.add_listener
def test_start(environment: Environment, **_: Any) -> None:
    """Once per process and run."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        session.prefix = f"cam-{runner.worker_index}"
    if not isinstance(runner, MasterRunner):
        runner.greenlet.spawn(watch_loop, recorder)
    if not isinstance(runner, WorkerRunner):
        control.begin()


@events.test_stop.add_listener
def test_stop(environment: Environment, **_: Any) -> None:
    """Once per process, when all users have ended."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        # Locust would send the last figures only when the worker quits, after the master has done its sums.
        runner._send_stats()
        if environment.parsed_options.headless:  # forked for this run: the master forgets who has stopped
            gevent.spawn_later(FLUSH_S, runner.quit)
        return
    if isinstance(runner, MasterRunner):
        gevent.sleep(FLUSH_S)  # a report that was being packed when the last one went
    else:
        control.take_own(recorder)
    environment.process_exit_code = control.end()
