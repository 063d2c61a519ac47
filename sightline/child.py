"""`python -m sightline.child COMMAND...`: become COMMAND, and end when the parent ends, however it ends.

A supervisor that is killed outright cannot stop its children; on Linux the kernel tells them (prctl(2),
PR_SET_PDEATHSIG, which survives exec). Elsewhere this just runs COMMAND.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
