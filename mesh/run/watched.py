"""Which of the files that a mesh is made of have changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

Times = Mapping[Path, tuple[int, int]]  # last modification in ns, size in bytes


def times_of(files: Iterable[Path]) -> Times:
    """The files that are there."""
    found = {}
    for path in files:
        with contextlib.suppress(OSError):
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def changed(before: Times, now: Times) -> str:
    """The first three names of those that differ, for people."""
    names = sorted(path.name for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
