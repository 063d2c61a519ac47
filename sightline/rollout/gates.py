"""The limits of a rollout, from the file that the cluster's rollouts use too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from client.relay.shadow_gate import AgreementGates

FILE = Path("k8s/components/rollout-gates/config-map-rollout-gates.yaml")


@dataclass(frozen=True)
class Gates:
    """Limits; None: not judged.

    `success_ratio`: least share of the candidate's Predicts that succeed. `age_p99_s`: 99 in 100 of its answers to
    live frames come at this age or younger. `min_requests`: Predicts before either is judged. `agreement`: what the
    relay judges by comparing the versions' detections.
    """

    success_ratio: float | None = None
    age_p99_s: float | None = None
    min_requests: int = 50
    agreement: AgreementGates | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # as they stand in the file

    def __post_init__(self) -> None:
        if self.success_ratio is not None and not 0 < self.success_ratio <= 1:
            raise ValueError(f"success_ratio: expected more than 0, to 1, got {self.success_ratio:g}")
        if self.age_p99_s is not None and not self.age_p99_s > 0:
            raise ValueError(f"age_p99_s: expected more than 0, got {self.age_p99_s:g}")
        if self.min_requests < 1:
            raise ValueError(f"min_requests: expected 1 or more, got {self.min_requests}")

    @property
    def confidence(self) -> float:
        """Of all intervals."""
        return self.agreement.confidence if self.agreement else AgreementGates().confidence

    @property
    def agreement_texts(self) -> dict[str, str]:
        """What the relay's gate is asked with."""
        known = {one.name for one in fields(AgreementGates)}
        return {name: text for name, text in self.texts.items() if name in known}


def gates_file() -> Path:
    """The project's own: in a checkout, or inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parents[1] / FILE
    return checkout if checkout.is_file() else package / "gates.yaml"


def read_gates(path: Path) -> Gates:
    """The gates of a ConfigMap's `data`. Raises ValueError naming the file, what is wrong, and what is expected."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{path}: expected a ConfigMap with the limits under `data`")
    try:
        return parse_gates({str(name): str(value) for name, value in data.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_gates(texts: Mapping[str, str]) -> Gates:
    """From the file's own words. Raises ValueError."""
    own = {"success_ratio": float, "age_p99_s": float, "min_requests": int}
    values = {}
    for name, kind in own.items():
        if name in texts:
            try:
                values[name] = kind(texts[name])
            except ValueError:
                raise ValueError(f"{name}: expected a number, got {texts[name]!r}") from None
    rest = {name: text for name, text in texts.items() if name not in own}
    judged = rest.keys() - {"min_frames", "confidence"}
    agreement = AgreementGates.parse(rest) if judged else None
    if not judged and not values.keys() & {"success_ratio", "age_p99_s"}:
        raise ValueError("expected at least one limit, such as agreement or success_ratio")
    return Gates(**values, agreement=agreement, texts=dict(texts))
