"""Training the demo weights, for a few tiny steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.demo.evaluate import evaluate
from model.demo.train import rate_factor, train
from model.street import CLASS_NAMES

TINY = 0.1  # of a batch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small steps on several threads mostly wait for each other where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights_of(path: Path) -> dict[str, object]:
    kept = torch.load(path, weights_only=False)["model"]
    return dict(kept.state_dict())


def test_a_run_can_be_repeated_and_gone_on_with(tmp_path: Path) -> None:
    losses = train(tmp_path / "once.pt", 3, 2, size=TINY, workers=0)
    assert all(math.isfinite(loss) for loss in losses)
    train(tmp_path / "half.pt", 3, 1, size=TINY, workers=0, checkpoint=tmp_path / "state", keep_every=1)
    train(tmp_path / "half.pt", 3, 2, size=TINY, workers=0, checkpoint=tmp_path / "state", keep_every=1)
    once, half = weights_of(tmp_path / "once.pt"), weights_of(tmp_path / "half.pt")
    assert once.keys() == half.keys()
    for name, value in once.items():
        torch.testing.assert_close(
            half[name], value, rtol=2e-2, atol=2e-3
        )  # half precision, other order of sums


def test_the_weights_are_an_ultralytics_checkpoint(tmp_path: Path) -> None:
    train(tmp_path / "w.pt", 1, 1, size=TINY, workers=0)
    assert (tmp_path / "w.pt").stat().st_size < 7e6
    kept = torch.load(tmp_path / "w.pt", weights_only=False)["model"]
    assert kept.names == dict(enumerate(CLASS_NAMES))
    assert {value.dtype for value in kept.parameters()} == {torch.float16}
    assert str(tmp_path).encode() not in (tmp_path / "w.pt").read_bytes()
    found = evaluate(tmp_path / "w.pt", 1, 0, 320, square=False)
    assert found.low.map50 < 0.1, "an untrained network finds nothing"
    assert found.high.map50 <= found.low.map50


@pytest.mark.parametrize(
    ("iteration", "factor"), [(0, 1 / 150), (149, 1.0), (749, 1.0), (875, 0.5), (999, 0.01)]
)
def test_the_rate_warms_up_stays_and_falls(iteration: int, factor: float) -> None:
    assert rate_factor(iteration, 1000) == pytest.approx(factor, abs=0.005)
