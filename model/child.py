"""Processes that end when the one that started them does, however that ends.

Who is killed outright cannot stop its children; on Linux the kernel tells them (prctl(2), PR_SET_PDEATHSIG, which
survives exec). Elsewhere they are started as they are. This file is run too, by its path: a fresh interpreter asks
the kernel and becomes the command, so that nothing happens between fork and exec in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def bound(command: Sequence[str]) -> list[str]:
    """The command to start in place of `command`, for a process that gets SIGTERM when this one ends.

    The process id stays that of `command`. To the kernel its parent is the thread that starts it: start it from one
    that stays.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def end_with(parent: int) -> None:
    """From now on this process gets SIGTERM when its parent, the process `parent`, ends; at once if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
