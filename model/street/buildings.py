"""House fronts of the synthetic street, straight on or in perspective, and the brush that paints them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from model.street.pen import Colour, Image, Light, mix, rgb, shade
from model.street.view import View

_WALLS = [
    rgb(c)
    for c in (
        "#c9a27e", "#b8695a", "#d9cbb3", "#8d9aa6", "#a7b89a", "#e0b98a", "#9c6b5a",
        "#cfd3d6", "#7d8fa8", "#d8a7a0",
        "#b59f86", "#6f7f78",
    )
]  # fmt: skip
_AWNING = [rgb(c) for c in ("#c62828", "#2e7d46", "#1f5fa8", "#d98e2b", "#7a4fa3", "#2b3f73")]


class Brush:
    def __init__(self, canvas: Image, light: Light, view: View) -> None:
        self.canvas, self.light, self.view = canvas, light, view

    def poly(self, points: list[tuple[float, float]], colour: Colour, lit: bool = False) -> None:
        px = np.round(np.asarray(points, np.float64) * 16).clip(-(2**27), 2**27).astype(np.int32)
        cv2.fillPoly(self.canvas, [px], colour if lit else self.light(colour), cv2.LINE_AA, 4)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, lit: bool = False) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, lit)


def paint_facade(
    brush: Brush,
    corner: tuple[float, float, float, float],
    size_m: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """One building's front. corner: x of its edges, then pixels per metre at each; size_m: width, height."""
    x0, x1, k0, k1 = corner
    width, height = size_m
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    base0, base1 = (brush.view.horizon + brush.view.tall * k for k in (k0, k1))

    def quad(u0: float, v0: float, u1: float, v1: float, colour: Colour, lit: bool = False) -> None:
        """A rectangle on the wall: u metres along, v metres up."""
        points = []
        for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1)):
            # 1/k is linear in depth, so the way along the wall is interpolated in perspective
            s = u / width
            k = 1 / ((1 - s) / k0 + s / k1)
            share = 0.0 if k0 == k1 else (k - k0) / (k1 - k0)
            x = x0 + (x1 - x0) * (s if k0 == k1 else share)
            y = base0 + (base1 - base0) * (s if k0 == k1 else share) - v * k
            points.append((x, y))
        brush.poly(points, colour, lit)

    quad(0, 0, width, height, wall)
    quad(0, 0, width, 0.5, shade(wall, 0.7))
    quad(0, height - 0.45, width, height, shade(wall, 1.15))
    quad(0, height - 0.55, width, height - 0.45, shade(wall, 0.65))
    bays = max(1, int(width / float(rng.uniform(1.9, 3.0))))
    step, storey = width / bays, float(rng.uniform(2.9, 3.4))
    glass = mix(rgb("#4a6275"), rgb("#8fa9b8"), float(rng.random()))
    frame = shade(wall, 1.25) if rng.random() < 0.6 else shade(wall, 0.6)
    tall = float(rng.uniform(1.3, 1.9))
    for floor in range(1, int((height - 0.7) / storey)):
        for bay in range(bays):
            lit = brush.light.lamps and rng.random() < 0.35
            u, v = bay * step + step * 0.24, floor * storey + 0.75
            quad(u - 0.1, v - 0.12, u + step * 0.52 + 0.1, v + tall + 0.1, frame)
            quad(u, v, u + step * 0.52, v + tall, rgb("#e5bd6a") if lit else glass, lit)
            if not lit:
                quad(u, v + tall * 0.55, u + step * 0.52, v + tall, shade(glass, 0.82))
    if rng.random() < 0.6:
        _shop(quad, width, wall, brush.light, rng)
    else:
        door = float(rng.uniform(0.15, 0.7)) * width
        quad(door - 0.15, 0, door + 1.25, 2.5, shade(wall, 1.2))
        quad(door, 0, door + 1.1, 2.3, _AWNING[int(rng.integers(len(_AWNING)))])
        for u in (door - 2.4, door + 2.2):
            if 0.3 < u < width - 1.6:
                quad(u - 0.1, 0.9, u + 1.3, 2.4, frame)
                quad(u, 1.0, u + 1.2, 2.3, glass)


def _shop(
    quad: Callable[..., None], width: float, wall: Colour, light: Light, rng: np.random.Generator
) -> None:
    sign = _AWNING[int(rng.integers(len(_AWNING)))]
    lit = light.lamps and rng.random() < 0.7
    quad(0.3, 0.1, width - 0.3, 2.9, shade(wall, 0.55))
    quad(0.45, 0.5, width - 1.7, 2.4, rgb("#e8c77e") if lit else rgb("#7f98a5"), lit)
    quad(width - 1.5, 0.1, width - 0.5, 2.3, rgb("#cfae6a") if lit else rgb("#4d5f69"), lit)
    quad(0.3, 2.85, width - 0.3, 3.3, sign)
    count = max(2, int(width / 0.6))
    for i in range(count):
        u = 0.3 + i * (width - 0.6) / count
        quad(u, 2.25, u + (width - 0.6) / count, 2.85, sign if i % 2 else rgb("#efe9dc"))
