"""The shipped demo weights: the file that was meant, small, and good at its street."""

from __future__ import annotations

import hashlib
import math

import torch

from model.demo import DEMO_WEIGHTS, DEMO_WEIGHTS_SHA256
from model.demo.evaluate import evaluate


def test_the_file_is_the_one_that_was_meant() -> None:
    data = DEMO_WEIGHTS.read_bytes()
    assert hashlib.sha256(data).hexdigest() == DEMO_WEIGHTS_SHA256
    assert len(data) <= 7_000_000


def test_it_finds_what_is_in_unseen_streets() -> None:
    """A few frames only; `python -m model.demo.evaluate` measures on many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several mostly wait for each other where the machine is busy
    found = evaluate(DEMO_WEIGHTS, 16, seed=7, imgsz=640, square=False)
    low, high = found.low, found.high
    torch.set_num_threads(threads)
    assert low.map50 > 0.8
    assert low.map50 >= high.map50 > 0.7
    assert not any(math.isnan(result.ap50) for result in low.per_class.values())
