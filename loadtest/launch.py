"""Start Locust with a plan, wait for it, and pass on Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.plan import INTERRUPTED, VARIABLE, Plan
from loadtest.ports import free_address
from model.child import bound

LOOPBACK = "127.0.0.1"
POLL_S = 0.2
STOP_S = 30.0  # for the last answers and the report
WORKERS_S = 5.0


@dataclass(frozen=True)
class LaunchConfig:
    """How Locust runs.

    `processes`: that generate load on this machine. `web_port`: of Locust's own page, on loopback; 0: no page, the
    run begins and ends by itself. `locust`: more of Locust's own options, such as --master and --worker.
    """

    processes: int = 1
    web_port: int = 0
    locust: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ValueError(f"--processes: expected 1 or more, got {self.processes}")


def command(config: LaunchConfig) -> list[str]:
    """Locust's command line."""
    locustfile = Path(__file__).with_name("locustfile.py")
    words = [sys.executable, "-m", "locust", "--locustfile", str(locustfile), "--skip-log-setup"]
    if config.web_port:
        words += ["--autostart", "--web-host", LOOPBACK, "--web-port", str(config.web_port)]
    elif "--worker" not in config.locust:
        words += ["--headless"]
    if config.processes > 1:
        words += ["--processes", str(config.processes), "--master-bind-host", LOOPBACK]
        if not {"--master", "--worker"} & set(config.locust):  # else others know the port, Locust's own
            port = str(free_address().port)
            words += ["--master-bind-port", port, "--master-port", port]
    return [*words, *config.locust]


def launch(plan: Plan, config: LaunchConfig, check: Callable[[], None] = lambda: None) -> int:
    """Run the plan and return the exit status. `check` is called all the time; what it raises ends the run.

    Ctrl-C ends the run in good order, with a report of what was measured so far; a second one at once. Where the load
    has not begun it raises KeyboardInterrupt.
    """
    # A handshake that fails is among the run's messages; gRPC would log each try of each camera too.
    environment = {"GRPC_VERBOSITY": "ERROR"} | os.environ | {VARIABLE: str(plan.save())}
    # Until Locust can take it (loadtest.locustfile), Ctrl-C waits: a traceback out of its imports would say nothing.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # A session of its own: Ctrl-C in the terminal reaches us alone, and we tell the one process that is in charge.
    process = subprocess.Popen(
        bound(command(config)), env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while process.poll() is None:
            check()
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(STOP_S) == INTERRUPTED:
                raise
    finally:
        _end_group(process)
    return process.returncode if process.returncode >= 0 else 1


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End Locust if it still runs, and workers that have not followed their master."""
    end_s = time.monotonic() + WORKERS_S
    with contextlib.suppress(ProcessLookupError):
        while process.poll() is not None and time.monotonic() < end_s:
            os.killpg(process.pid, 0)  # is anybody left?
            time.sleep(POLL_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
