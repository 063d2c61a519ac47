"""The still part of the synthetic street: sky, buildings, pavements and the road, painted once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.street_pen import Colour, Image, Light, mix, rgb, shade

_WALLS = [
    rgb(c)
    for c in (
        "#c9a27e", "#b8695a", "#d9cbb3", "#8d9aa6", "#a7b89a", "#e0b98a", "#9c6b5a", "#cfd3d6", "#7d8fa8", "#d8a7a0",
        "#b59f86", "#6f7f78",
    )
]  # fmt: skip
_AWNING = [rgb(c) for c in ("#c62828", "#2e7d46", "#1f5fa8", "#d98e2b", "#7a4fa3", "#2b3f73")]
_KERB, _MARK = rgb("#c9c6bf"), rgb("#e9e6dc")
_SKIES = {
    "day": (rgb("#6fb1e0"), rgb("#dcecf5")),
    "dusk": (rgb("#5a5f96"), rgb("#f2b38a")),
    "overcast": (rgb("#9aa4ad"), rgb("#cfd4d6")),
    "night": (rgb("#0c1224"), rgb("#27304d")),
}


@dataclass(frozen=True, slots=True)
class View:
    """The camera: what is z metres away and x metres right of the axis lands where. Pixels of the frame."""

    width: int
    height: int
    horizon: float  # y of the horizon
    focal: float  # pixels
    tall: float  # the camera's height above the street in metres
    along: bool  # looks along the street; else across it
    left: float = 0.0  # the axis' offset from the frame's middle in pixels

    def scale(self, z: float) -> float:
        """Pixels per metre at distance z."""
        return self.focal / z

    def ground(self, x: float, z: float) -> tuple[float, float]:
        """The pixel of a point on the street."""
        k = self.focal / z
        return self.width / 2 + self.left + x * k, self.horizon + self.tall * k


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the street's parts lie, in metres: distances z if seen across, offsets x if seen along."""

    wall: float  # the far building line (across); half the distance between the building lines (along)
    kerb: float  # far kerb; half the road's width
    lanes: int
    lane_m: float
    near: float  # near kerb (across only)


class _Brush:
    def __init__(self, canvas: Image, light: Light, view: View) -> None:
        self.canvas, self.light, self.view = canvas, light, view

    def poly(self, points: list[tuple[float, float]], colour: Colour, lit: bool = False) -> None:
        px = np.round(np.asarray(points, np.float64) * 16).clip(-(2**27), 2**27).astype(np.int32)
        cv2.fillPoly(self.canvas, [px], colour if lit else self.light(colour), cv2.LINE_AA, 4)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, lit: bool = False) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, lit)


def paint_backdrop(
    view: View, plan: Plan, sky: str, light: Light, wet: bool, rng: np.random.Generator
) -> Image:
    """Paint the still picture, uint8 [height, width, 3] BGR. sky: 'day', 'dusk', 'overcast' or 'night'."""
    canvas = _sky(view, sky, rng)
    brush = _Brush(canvas, light, view)
    _skyline(brush, view, sky, rng)
    ground = mix(rgb("#8f8d88"), rgb("#b3a894"), float(rng.random()))
    road = shade(rgb("#55585c"), float(rng.uniform(0.8, 1.25)))
    if view.along:
        _along(brush, view, plan, ground, road, rng)
    else:
        _across(brush, view, plan, ground, road, rng)
    if wet:
        _puddles(canvas, view, rng)
    return _textured(canvas, view, rng)


def _sky(view: View, sky: str, rng: np.random.Generator) -> Image:
    top, low = (np.asarray(c, np.float32) for c in _SKIES[sky])
    share = np.clip(np.arange(view.height, dtype=np.float32) / max(view.horizon * 1.3, 1), 0, 1)[
        :, None, None
    ]
    rows = np.broadcast_to(top + (low - top) * share, (view.height, view.width, 3))
    canvas = np.ascontiguousarray(rows).astype(np.uint8)
    k = view.width / 1280
    if sky == "night":
        for _ in range(60):
            x, y = int(rng.integers(view.width)), int(rng.uniform(0, max(view.horizon, 2)))
            canvas[min(y, view.height - 1), x] = 150
        return canvas
    for _ in range(int(rng.integers(2, 6))):
        x, y = float(rng.uniform(0, view.width)), float(rng.uniform(0, view.horizon * 0.7))
        tone = mix(_SKIES[sky][1], (255, 255, 255), 0.6)
        for _ in range(5):
            dx, r = float(rng.normal(0, 55 * k)), float(rng.uniform(14, 34) * k)
            cv2.ellipse(
                canvas,
                (int(x + dx), int(y)),
                (int(r * 2.2) + 1, int(r * 0.7) + 1),
                0,
                180,
                360,
                tone,
                -1,
                cv2.LINE_AA,
            )
    return canvas


def _skyline(brush: _Brush, view: View, sky: str, rng: np.random.Generator) -> None:
    """Far silhouettes at the horizon."""
    tone = mix(_SKIES[sky][1], rgb("#5d6b7d"), 0.45)
    x, k = 0.0, view.width / 1280
    while x < view.width:
        w, h = float(rng.uniform(30, 100) * k), float(rng.uniform(20, 130) * k)
        brush.rect(x, view.horizon - h, x + w, view.horizon + 4, tone, lit=True)
        x += w + float(rng.uniform(-8, 30) * k)
    land = brush.light(mix(rgb("#8a9a72"), rgb("#77736a"), float(rng.random())))
    bands = 24  # the land comes out of the haze
    for band in range(bands):
        y = view.horizon + (view.height - view.horizon) * band / bands
        brush.rect(0, y, view.width, view.height, mix(tone, land, min(1.0, (band + 1) / 12)), lit=True)


def _facade(
    brush: _Brush,
    corner: tuple[float, float, float, float],
    size_m: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """One building's front. corner: x of the left and right edge, and px per metre there and there; see _quad."""
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


def _shop(quad: object, width: float, wall: Colour, light: Light, rng: np.random.Generator) -> None:
    assert callable(quad)
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


def _across(
    brush: _Brush, view: View, plan: Plan, ground: Colour, road: Colour, rng: np.random.Generator
) -> None:
    k = view.scale(plan.wall)
    half = view.width / 2 / k
    wall_y, kerb_y, near_y = (view.ground(0, z)[1] for z in (plan.wall, plan.kerb, plan.near))
    x = -half - float(rng.uniform(0, 5))
    while x < half:
        w = float(rng.uniform(6, 14))
        if rng.random() < 0.82:
            to_px = view.width / 2
            _facade(brush, (to_px + x * k, to_px + (x + w) * k, k, k), (w, float(rng.uniform(6, 17))), rng)
        else:  # a gap with a hedge
            brush.rect(
                view.width / 2 + x * k, wall_y - 1.6 * k, view.width / 2 + (x + w) * k, wall_y, rgb("#4f7a45")
            )
        x += w + (0.0 if rng.random() < 0.7 else float(rng.uniform(0.5, 3)))
    brush.rect(0, wall_y, view.width, kerb_y, ground)
    _tiles_across(brush, view, plan.kerb, plan.wall, shade(ground, 0.9))
    brush.rect(0, kerb_y, view.width, near_y, road)
    kz = view.scale(plan.kerb)
    brush.rect(0, kerb_y - 0.12 * kz, view.width, kerb_y + 0.08 * kz, _KERB)
    _markings_across(brush, view, plan, rng)
    grass = rng.random() < 0.3
    front = rgb("#6f9154") if grass else shade(ground, 1.06)
    brush.rect(0, near_y, view.width, view.height, front)
    if not grass:
        _tiles_across(
            brush,
            view,
            max(view.focal * view.tall / (view.height - view.horizon), 1),
            plan.near,
            shade(front, 0.9),
        )
    kn = view.scale(plan.near)
    brush.rect(0, near_y - 0.1 * kn, view.width, near_y + 0.14 * kn, _KERB)


def _tiles_across(brush: _Brush, view: View, z0: float, z1: float, colour: Colour) -> None:
    z = z0
    while z < z1:
        y = view.ground(0, z)[1]
        brush.rect(0, y, view.width, y + 0.03 * view.scale(z), colour)
        z += 1.0
    half = view.width / 2 / view.scale(z1) + 1
    for x in np.arange(-round(half), half, 1.5):
        (ax, ay), (bx, by) = view.ground(float(x), z1), view.ground(float(x), z0)
        brush.poly([(ax, ay), (ax + 0.6, ay), (bx + 1.2, by), (bx, by)], colour)


def _markings_across(brush: _Brush, view: View, plan: Plan, rng: np.random.Generator) -> None:
    half = view.width / 2 / view.scale(plan.kerb) + 4
    for lane in range(1, plan.lanes):
        z = plan.kerb - lane * plan.lane_m
        for x in np.arange(-half, half, 6.0):
            brush.poly(
                [
                    view.ground(x, z),
                    view.ground(x + 3, z),
                    view.ground(x + 3, z - 0.15),
                    view.ground(x, z - 0.15),
                ],
                _MARK,
            )
    if rng.random() < 0.45:  # a crossing
        x = float(rng.uniform(-8, 6))
        for i in np.arange(plan.near + 0.4, plan.kerb - 0.4, 1.0):
            brush.poly(
                [
                    view.ground(x, i),
                    view.ground(x + 3, i),
                    view.ground(x + 3, i + 0.5),
                    view.ground(x, i + 0.5),
                ],
                _MARK,
            )


def _along(
    brush: _Brush, view: View, plan: Plan, ground: Colour, road: Colour, rng: np.random.Generator
) -> None:
    far, near = 140.0, 2.0

    def strip(x0: float, x1: float, colour: Colour, z0: float = near, z1: float = far) -> None:
        brush.poly(
            [view.ground(x0, z1), view.ground(x1, z1), view.ground(x1, z0), view.ground(x0, z0)], colour
        )

    for side in (-1, 1):
        z = far
        while z > 6:
            depth = float(rng.uniform(7, 15))
            if rng.random() < 0.85:
                x, z1 = side * plan.wall, max(z - depth, 4.0)
                k0, k1 = view.scale(z), view.scale(z1)
                _facade(
                    brush,
                    (view.ground(x, z)[0], view.ground(x, z1)[0], k0, k1),
                    (z - z1, float(rng.uniform(6, 16))),
                    rng,
                )
            z -= depth + (0.0 if rng.random() < 0.7 else float(rng.uniform(1, 3)))
    strip(-plan.wall, plan.wall, ground)
    for z in np.arange(6.0, 60.0, 2.0):
        strip(-plan.wall, plan.wall, shade(ground, 0.92), float(z), float(z) + 0.06)
    strip(-plan.kerb, plan.kerb, road)
    for side in (-1, 1):
        strip(side * plan.kerb - 0.12, side * plan.kerb + 0.12, _KERB)
    for lane in range(1, plan.lanes):
        x = -plan.kerb + lane * 2 * plan.kerb / plan.lanes
        for z in np.arange(near, far * 0.8, 6.0):
            strip(x - 0.07, x + 0.07, _MARK, float(z), float(z) + 3.0)
    if rng.random() < 0.5:
        z = float(rng.uniform(12, 26))
        for x in np.arange(-plan.kerb + 0.4, plan.kerb - 0.4, 1.0):
            strip(float(x), float(x) + 0.5, _MARK, z, z + 3.0)


def _puddles(canvas: Image, view: View, rng: np.random.Generator) -> None:
    k = view.width / 1280
    layer = canvas.copy()
    for _ in range(9):
        x, y = (
            float(rng.uniform(0, view.width)),
            float(rng.uniform(view.horizon + 0.3 * (view.height - view.horizon), view.height)),
        )
        r = float(rng.uniform(20, 90)) * k
        cv2.ellipse(
            layer,
            (int(x), int(y)),
            (int(r) + 1, int(r * 0.16) + 1),
            0,
            0,
            360,
            (190, 180, 170),
            -1,
            cv2.LINE_AA,
        )
    cv2.addWeighted(layer, 0.35, canvas, 0.65, 0, canvas)


def _textured(canvas: Image, view: View, rng: np.random.Generator) -> Image:
    """A slow and a fine grain over everything, and a vignette, so that no area is perfectly flat."""
    h, w = canvas.shape[:2]
    slow = cv2.resize(
        rng.normal(0, 5, (max(2, h // 24), max(2, w // 24))).astype(np.float32),
        (w, h),
        interpolation=cv2.INTER_CUBIC,
    )
    fine = rng.normal(0, 2.0, (h, w)).astype(np.float32)
    fine[: max(0, min(h, int(view.horizon)))] *= 0.3
    grain: npt.NDArray[np.float32] = slow * 0.3 + fine
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    dark = 1 - 0.14 * np.clip(x * x + y * y - 0.5, 0, 1.5)
    return np.asarray(np.clip(canvas * dark[..., None] + grain[..., None], 0, 255), np.uint8)
