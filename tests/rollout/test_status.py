"""`sightline rollout status`: what it tells of a controller without numbers."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from sightline.rollout.command import status
from sightline.rollout.config import RolloutConfig
from sightline.rollout.gates import parse_gates
from sightline.rollout.state import HISTORY, FileStore, Phase, State

CONFIG = RolloutConfig(parse_gates({"success_ratio": "0.99"}), steps=(20, 100), hold_s=10)
ENTRY = {"held_s": 4.0, "verdict": "pass", "checks": [{"verdict": "pass", "text": "success_ratio 1 >= 0.99"}]}


@pytest.mark.parametrize(
    ("controlled", "age_s", "phase", "told"),
    [
        (True, 40, Phase.RUNNING, "no numbers for 40 s: its controller holds until they are back"),
        (True, 1, Phase.RUNNING, ""),
        (False, 40, Phase.RUNNING, "no controller runs"),
        (False, 40, Phase.PROMOTED, ""),
    ],
)
def test_numbers_that_are_old_are_told(
    controlled: bool, age_s: float, phase: Phase, told: str, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    store = FileStore(tmp_path)
    store.save(State(CONFIG.as_json(), str(report), time.time(), phase))
    store.record(ENTRY)
    os.utime(report / HISTORY, times=(time.time() - age_s,) * 2)
    with store.owned() if controlled else nullcontext():
        said = list(status(tmp_path))
    assert said[0] == f"{phase} at 20 % to v2 (steps 20, 100)"
    assert said[-2:] == ["held 4 s of 10 s: pass", "  pass  success_ratio 1 >= 0.99"]
    between = said[1:-2]
    assert len(between) == bool(told)
    assert not told or between[0].startswith(told)
