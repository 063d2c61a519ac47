"""Work beside serving, on threads that give way to those that answer calls: TensorFlow optimises the graph of a model
that is loaded for a second or two, which would double the latency of every call meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

NICE = 10  # a tenth of a core that calls keep busy: so a load ends, in tens of seconds, even under full load
T = TypeVar("T")


def gently(work: Callable[[], T], beside_serving: bool = True) -> T:
    """Run `work`, at low priority if it is `beside_serving`, and return its result; its exceptions pass.

    A thread inherits the priority of the one that starts it, and without privileges cannot go back: what `work`
    leaves behind must have no threads of its own. Nor may it be more than a few lines of Python: who holds Python's
    lock, which all calls need, and has to wait for a core, makes them wait too.
    """
    if not beside_serving:
        return work()
    # Linux counts niceness by thread.
    with ThreadPoolExecutor(1, "gently", initializer=lambda: os.nice(NICE)) as pool:
        return pool.submit(work).result()
