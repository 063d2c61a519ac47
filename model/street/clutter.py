"""What stands in the synthetic street and is no object: trees, lamps, signs, bins, benches, bushes."""

from __future__ import annotations

import numpy as np

from model.street.pen import Light, Pen, Sprite, rgb, rounded, shade

CLUTTER = ("tree", "pine", "lamp", "sign", "bin", "bench", "bush", "hydrant")
_LEAVES = [rgb(c) for c in ("#4f8a3c", "#6b9a3a", "#3a6f45", "#87a545", "#c08a35", "#b5583a", "#5a7d5a")]
_TRUNK, _IRON, _GLOW = rgb("#5b4230"), rgb("#3a4147"), rgb("#ffd98a")


def draw_clutter(kind: str, rng: np.random.Generator, px_per_m: float, light: Light) -> Sprite:
    """Draw one piece of CLUTTER with a random look."""
    width, height = {
        "tree": (5.0, 7.0), "pine": (3.4, 7.5), "lamp": (5.2, 7.0), "sign": (1.0, 2.9), "bin": (0.9, 1.2),
        "bench": (2.4, 1.1), "bush": (2.6, 1.5), "hydrant": (0.8, 1.0),
    }[kind]  # fmt: skip
    pen = Pen(width, height, px_per_m, light, 1 if rng.random() < 0.5 else -1)
    {
        "tree": _tree, "pine": _pine, "lamp": _lamp, "sign": _sign, "bin": _bin, "bench": _bench,
        "bush": _bush, "hydrant": _hydrant,
    }[kind](pen, rng)  # fmt: skip
    return pen.done()


def _tree(pen: Pen, rng: np.random.Generator) -> None:
    leaf = _LEAVES[int(rng.integers(len(_LEAVES)))]
    crown, size = float(rng.uniform(4.0, 4.9)), float(rng.uniform(0.75, 1.0))
    pen.shadow(0, 1.6 * size, 0.22)
    pen.poly([(-0.16, 0), (0.16, 0), (0.09, crown), (-0.09, crown)], _TRUNK)
    pen.line([(0, crown - 1.2), (0.7 * size, crown - 0.3)], 0.1, _TRUNK)
    blobs = [
        (float(rng.uniform(-1.1, 1.1)), float(rng.uniform(-0.9, 1.0)), float(rng.uniform(0.75, 1.1)))
        for _ in range(7)
    ]
    for tone, dx, dy in ((0.72, 0.0, -0.12), (1.0, 0.08, 0.08), (1.22, 0.2, 0.35)):
        for x, y, r in blobs if tone < 1.2 else blobs[:4]:
            r *= size * (0.45 if tone > 1.2 else 1.0)
            pen.oval(x * size + dx, crown + y * size + dy, r, r * 0.92, shade(leaf, tone))


def _pine(pen: Pen, rng: np.random.Generator) -> None:
    leaf = rgb("#2f5d4a") if rng.random() < 0.6 else rgb("#4a7050")
    top = float(rng.uniform(5.2, 7.2))
    pen.shadow(0, 1.2, 0.16)
    pen.rect(-0.12, 0, 0.12, 1.2, _TRUNK)
    for i in range(4):
        y, half = 0.8 + i * (top - 1.6) / 4, 1.45 - 0.27 * i
        tip = y + (top - 0.8) / 2.6
        pen.poly([(-half, y), (half, y), (0, tip)], leaf)
        pen.poly([(0, y), (half, y), (0, tip)], shade(leaf, 0.8))


def _lamp(pen: Pen, rng: np.random.Generator) -> None:
    pen.shadow(0, 0.4, 0.06)
    pen.line([(0, 0), (0, 5.2), (0.25, 5.65), (1.2, 5.75)], 0.12, _IRON)
    pen.rect(-0.14, 0, 0.14, 0.7, shade(_IRON, 0.8))
    pen.poly(rounded([(0.8, 5.62), (1.5, 5.62), (1.4, 5.85), (0.9, 5.85)], 1), shade(_IRON, 1.3))
    pen.rect(0.88, 5.55, 1.42, 5.64, _GLOW, lit=True)
    pen.glow(1.15, 5.45, 1.4, 1.5, _GLOW, 0.85)


def _sign(pen: Pen, rng: np.random.Generator) -> None:
    pen.shadow(0, 0.25, 0.04)
    pen.line([(0, 0), (0, 2.3)], 0.07, rgb("#9aa0a6"))
    colour = (rgb("#c62828"), rgb("#1f5fa8"), rgb("#e6b422"), rgb("#2e7d46"))[int(rng.integers(4))]
    if rng.random() < 0.5:
        pen.oval(0, 2.45, 0.33, 0.33, colour)
        pen.oval(0, 2.45, 0.22, 0.22, rgb("#f2f2ee"))
    elif rng.random() < 0.5:
        pen.poly([(-0.38, 2.15), (0.38, 2.15), (0, 2.8)], colour)
        pen.poly([(-0.22, 2.24), (0.22, 2.24), (0, 2.62)], rgb("#f2f2ee"))
    else:
        pen.rect(-0.42, 2.1, 0.42, 2.75, colour)
        pen.rect(-0.3, 2.36, 0.3, 2.48, rgb("#f2f2ee"))


def _bin(pen: Pen, rng: np.random.Generator) -> None:
    colour = (rgb("#3f5f4a"), rgb("#4a4f57"), rgb("#7a5230"))[int(rng.integers(3))]
    pen.shadow(0, 0.4, 0.06)
    pen.poly([(-0.24, 0), (0.24, 0), (0.3, 0.85), (-0.3, 0.85)], colour)
    pen.rect(-0.33, 0.82, 0.33, 0.95, shade(colour, 0.7))
    pen.rect(-0.18, 0.5, 0.18, 0.62, shade(colour, 1.5))


def _bench(pen: Pen, rng: np.random.Generator) -> None:
    wood = rgb("#9a6a3c") if rng.random() < 0.7 else rgb("#5f7a5a")
    pen.shadow(0, 1.1, 0.08)
    for x in (-0.75, 0.75):
        pen.line([(x, 0), (x, 0.45), (x - 0.05, 0.9)], 0.08, _IRON)
    for y in (0.43, 0.62, 0.78):
        pen.rect(-0.95, y, 0.95, y + 0.1, shade(wood, 1.1 - 0.25 * (y < 0.5)))


def _bush(pen: Pen, rng: np.random.Generator) -> None:
    leaf = _LEAVES[int(rng.integers(4))]
    pen.shadow(0, 1.1, 0.1)
    blobs = [
        (float(rng.uniform(-0.7, 0.7)), float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.3, 0.5)))
        for _ in range(7)
    ]
    for tone, up in ((0.75, 0.0), (1.05, 0.1)):
        for x, y, r in blobs:
            pen.oval(x, y + up, r, r * 0.9, shade(leaf, tone))
    pen.rect(-0.8, 0, 0.8, 0.3, shade(leaf, 0.75))


def _hydrant(pen: Pen, rng: np.random.Generator) -> None:
    colour = rgb("#c8352e") if rng.random() < 0.6 else rgb("#e0b030")
    pen.shadow(0, 0.25, 0.04)
    pen.rect(-0.13, 0, 0.13, 0.55, colour)
    pen.oval(0, 0.58, 0.16, 0.14, shade(colour, 1.1))
    pen.rect(-0.24, 0.32, 0.24, 0.44, shade(colour, 0.8))
