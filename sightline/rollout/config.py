"""What a rollout is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.rollout.gates import Gates, parse_gates

FOLDER = Path("runs/up/rollout")
REPORTS = Path("runs/rollout")
PATIENCE = 3.0


@dataclass(frozen=True)
class RolloutConfig:
    """`to`: the candidate's subset; the other one is the stable version. `steps`: its share of the frames, in percent,
    rising; 0 judges it by the shadow alone. `hold_s`: the least time that each step is judged for. `gates`: what it
    must show. `model_config`: the model servers' --model_config_file, whose label `stable` a promotion moves.

    A step that has frames enough and is still between pass and fail after PATIENCE holds is rolled back.
    """

    gates: Gates
    to: str = "v2"
    steps: tuple[int, ...] = (5, 20, 50, 100)
    hold_s: float = 30.0
    model_config: Path | None = None

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] < 0 or self.steps[-1] > 100:
            raise ValueError(
                f"--steps: expected rising percentages from 0 to 100, got {', '.join(map(str, self.steps))}"
            )
        if not 0 < self.hold_s <= 600:
            raise ValueError(f"--hold: expected more than 0 s, to 10 minutes, got {self.hold_s:g} s")
        if self.steps[0] == 0 and self.gates.agreement is None:
            raise ValueError("--steps: at 0 % only agreement can be judged, and the gates have none")

    def as_json(self) -> dict[str, Any]:
        """For the state file."""
        return {
            "to": self.to,
            "steps": list(self.steps),
            "hold_s": self.hold_s,
            "gates": dict(self.gates.texts),
            "model_config": str(self.model_config.resolve()) if self.model_config else None,
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> RolloutConfig:
        """From the state file. Raises ValueError, KeyError or TypeError."""
        steps = tuple(int(step) for step in found["steps"])
        labels = Path(found["model_config"]) if found["model_config"] else None
        return cls(parse_gates(found["gates"]), str(found["to"]), steps, float(found["hold_s"]), labels)


def steps_of(text: str) -> tuple[int, ...]:
    """`5,20,50,100` or `5%,20%`. Raises ValueError."""
    try:
        return tuple(int(part.strip().removesuffix("%")) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--steps: expected percentages such as 5,20,50,100, got {text!r}") from None


def seconds_of(text: str) -> float:
    """`30s`, `2m`, `45`. Raises ValueError."""
    number, factor = (text[:-1], {"s": 1, "m": 60}[text[-1]]) if text[-1:] in ("s", "m") else (text, 1)
    try:
        return float(number) * factor
    except ValueError:
        raise ValueError(f"--hold: expected a time such as 30s or 2m, got {text!r}") from None
