"""The still part of the synthetic street: sky, buildings, pavements and the road, painted once."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.street.buildings import Brush, paint_facade
from model.street.pen import Colour, Image, Light, mix, rgb, shade
from model.street.view import Plan, View

_KERB, _MARK = rgb("#c9c6bf"), rgb("#e9e6dc")
_SKIES = {
    "day": (rgb("#6fb1e0"), rgb("#dcecf5")),
    "dusk": (rgb("#5a5f96"), rgb("#f2b38a")),
    "overcast": (rgb("#9aa4ad"), rgb("#cfd4d6")),
    "night": (rgb("#0c1224"), rgb("#27304d")),
}


def paint_backdrop(
    view: View, plan: Plan, sky: str, light: Light, wet: bool, rng: np.random.Generator
) -> Image:
    """Paint the still picture, uint8 [height, width, 3] BGR. sky: 'day', 'dusk', 'overcast' or 'night'."""
    canvas = _sky(view, sky, rng)
    brush = Brush(canvas, light, view)
    _skyline(brush, view, sky, rng)
    ground = mix(rgb("#8f8d88"), rgb("#b3a894"), float(rng.random()))
    road = shade(rgb("#55585c"), float(rng.uniform(0.8, 1.25)))
    if view.along:
        _along(brush, view, plan, ground, road, rng)
    else:
        _across(brush, view, plan, ground, road, rng)
    if wet:
        _puddles(canvas, view, plan, rng)
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
            column, row = int(rng.integers(view.width)), int(rng.uniform(0, max(view.horizon, 2)))
            canvas[min(row, view.height - 1), column] = 150
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


def _skyline(brush: Brush, view: View, sky: str, rng: np.random.Generator) -> None:
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


def _across(
    brush: Brush, view: View, plan: Plan, ground: Colour, road: Colour, rng: np.random.Generator
) -> None:
    k = view.scale(plan.wall)
    half = view.width / 2 / k
    wall_y, kerb_y, near_y = (view.ground(0, z)[1] for z in (plan.wall, plan.kerb, plan.near))
    x = -half - float(rng.uniform(0, 5))
    while x < half:
        w = float(rng.uniform(6, 14))
        if rng.random() < 0.82:
            to_px = view.width / 2
            paint_facade(
                brush, (to_px + x * k, to_px + (x + w) * k, k, k), (w, float(rng.uniform(6, 17))), rng
            )
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


def _tiles_across(brush: Brush, view: View, z0: float, z1: float, colour: Colour) -> None:
    z = z0
    while z < z1:
        y = view.ground(0, z)[1]
        brush.rect(0, y, view.width, y + 0.03 * view.scale(z), colour)
        z += 1.0
    half = view.width / 2 / view.scale(z1) + 1
    for x in np.arange(-round(half), half, 1.5):
        (ax, ay), (bx, by) = view.ground(float(x), z1), view.ground(float(x), z0)
        brush.poly([(ax, ay), (ax + 0.6, ay), (bx + 1.2, by), (bx, by)], colour)


def _markings_across(brush: Brush, view: View, plan: Plan, rng: np.random.Generator) -> None:
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
    brush: Brush, view: View, plan: Plan, ground: Colour, road: Colour, rng: np.random.Generator
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
                paint_facade(
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


def _puddles(canvas: Image, view: View, plan: Plan, rng: np.random.Generator) -> None:
    k = view.width / 1280
    top = view.horizon + 0.3 * (view.height - view.horizon) if view.along else view.ground(0, plan.wall)[1]
    layer = canvas.copy()
    for _ in range(9):
        share, y = float(rng.uniform(-1, 1)), float(rng.uniform(top, view.height))
        half = plan.wall * (y - view.horizon) / view.tall if view.along else view.width / 2
        x = view.width / 2 + (view.left if view.along else 0) + share * half
        r = float(rng.uniform(20, 90)) * k
        axes = (int(r) + 1, int(r * 0.16) + 1)
        cv2.ellipse(layer, (int(x), int(y)), axes, 0, 0, 360, (190, 180, 170), -1, cv2.LINE_AA)
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
