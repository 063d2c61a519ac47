"""A server in a process of its own, for as long as it is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.child import bound
from sightline.ports import LOOPBACK, free_port
from sightline.ready import wait_serving

READY_S = 120.0


@contextmanager
def serving(name: str, base: Path, log: Path, *flags: str, one_core: bool = False) -> Iterator[str]:
    """Serve the model in folder `base` as `name`; yields `host:port` once it answers.

    `one_core`: on the first one only. Raises RuntimeError with the log's last line when the server ends, and
    TimeoutError when it does not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "serving", f"--port={port}", f"--model_name={name}"]
    command += [f"--model_base_path={base.resolve()}", "--enable_grpc_healthcheck_service", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(bound(command), stdout=out, stderr=out)
    if one_core:  # its threads, all later, inherit it
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})

    def check() -> None:
        if process.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"the server did not start: {' '.join(tail)}")

    try:
        wait_serving(f"{LOOPBACK}:{port}", READY_S, check)
        yield f"{LOOPBACK}:{port}"
    finally:
        process.kill()
        process.wait()
