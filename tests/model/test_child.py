"""Processes end with the one that started them."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from model.child import bound
from tests.sightline.stack import alive, wait_until

PARENT = """
import subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import getpid
from model.child import bound, end_with

if __name__ == "__main__":
    child = subprocess.Popen(bound([sys.executable, "-c", "import time; time.sleep(600)"]))
    with ProcessPoolExecutor(1, get_context("spawn"), end_with, (getpid(),)) as pool:
        print(child.pid, pool.submit(getpid).result(), flush=True)
        time.sleep(600)
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")


@linux
def test_children_of_a_killed_process_end() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    wait_until(lambda: not any(map(alive, children)), 20)


@linux
def test_one_whose_parent_is_gone_does_not_start() -> None:
    command = bound([sys.executable, "-c", "print('started')"])
    command[4] = "1"  # in place of our process id
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    "code", ["raise SystemExit(7)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_it_ends_as_the_command_does(code: str) -> None:
    own = subprocess.run([sys.executable, "-c", code], check=False).returncode
    assert subprocess.run(bound([sys.executable, "-c", code]), check=False).returncode == own != 0
