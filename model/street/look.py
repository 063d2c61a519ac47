"""What the objects of the synthetic street look like: sizes and colours, drawn once per object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.street.pen import Colour, rgb

_SKIN = [rgb(c) for c in ("#f6d5bd", "#eebf9a", "#d9a066", "#b57a4a", "#8a5a34", "#5e3b22")]
_HAIR = [rgb(c) for c in ("#1d1a18", "#3b2a1e", "#6b4526", "#a8763e", "#d9b26a", "#8f8f94", "#7c2f1d")]
_CLOTH = [
    rgb(c)
    for c in (
        "#d94f4f", "#e8833a", "#f2c14e", "#5fa55a", "#2f7f79", "#3e7cb1", "#2b3f73", "#7a4fa3", "#c95d92",
        "#f0ece2", "#2e2e33", "#85878c", "#a5673f", "#b9d6e8", "#4c6b3c",
    )
]  # fmt: skip
_LEGS = [rgb(c) for c in ("#2a3550", "#3f5a86", "#2c2c30", "#6d6358", "#b8a98c", "#57606b", "#7b3a3a")]
_PAINT = [
    rgb(c)
    for c in (
        "#c8352e", "#e7e7e3", "#22252a", "#8c9197", "#c3c8cc", "#2c5f9e", "#1f3b57", "#2f6b4f", "#e0b030",
        "#7d2536", "#d97b2b", "#6fa8c9", "#b8a88a", "#5b4a78",
    )
]  # fmt: skip
_BUS_PAINT = [rgb(c) for c in ("#c62828", "#e0a526", "#1f6fb2", "#2e8b57", "#e6e6e6", "#e2711d", "#6a3d8f")]


def _pick(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


@dataclass(frozen=True, slots=True)
class Look:
    """One object's appearance. Lengths in metres; the colours' and styles' meaning is up to its kind."""

    length: float
    height: float
    style: int
    main: Colour
    second: Colour
    skin: Colour
    hair: Colour
    extra: float  # 0..1, drives what some of a kind have: bag, hat, roof rack, dress


def look_for(kind: str, rng: np.random.Generator) -> Look:
    """A random appearance for 'person', 'bicycle', 'car', 'bus', 'truck' or 'dog'."""
    length, height = {
        "person": (
            0.5,
            float(rng.normal(1.72, 0.1)) if rng.random() > 0.12 else float(rng.uniform(1.1, 1.4)),
        ),
        "bicycle": (1.75, 1.08),
        "car": (float(rng.uniform(3.7, 4.8)), float(rng.uniform(1.42, 1.68))),
        "bus": (float(rng.uniform(9.0, 12.0)), float(rng.uniform(2.9, 3.3))),
        "truck": (float(rng.uniform(6.2, 8.6)), float(rng.uniform(2.8, 3.5))),
        "dog": (float(rng.uniform(0.75, 1.1)), float(rng.uniform(0.5, 0.72))),
    }[kind]
    main = _pick(
        rng, {"person": _CLOTH, "bicycle": _PAINT, "bus": _BUS_PAINT, "dog": _HAIR}.get(kind, _PAINT)
    )
    second = _pick(rng, _LEGS if kind == "person" else _PAINT)
    style, extra = int(rng.integers(0, 5)), float(rng.random())
    return Look(length, min(height, 3.6), style, main, second, _pick(rng, _SKIN), _pick(rng, _HAIR), extra)
