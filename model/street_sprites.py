"""What moves in the synthetic street: people, bicycles, cars, buses, trucks and dogs, drawn in metres.

Each function draws one kind at one moment of its gait onto a `Pen` and is given what it looks like as a
frozen dataclass, drawn once per object. Side views look to the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model.street_pen import Colour, Light, Pen, Sprite, mix, rgb, rounded, shade

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
_GLASS, _GLASS_LIT = rgb("#2f4554"), rgb("#e8cf8a")
_TYRE, _RIM, _BLACK = rgb("#1b1b1d"), rgb("#b9bec4"), rgb("#141416")
_LAMP, _TAIL = rgb("#fff3c4"), rgb("#e02020")


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


def draw(
    kind: str, look: Look, view: str, phase: float, px_per_m: float, light: Light, facing: int
) -> Sprite:
    """Draw one object.

    kind: as in `look_for`, or 'rider' (a person on a bicycle).
    view: 'side', 'front' (coming) or 'rear' (going).
    phase: 0..1 through one stride or one turn of the pedals.
    facing: 1 looks right, -1 left (side view).
    """
    width, height = look.length + 0.9, look.height + 0.35
    if kind == "person":
        width = 0.85 * look.height
    elif kind == "rider":
        width, height = 1.9, 2.1
    elif view != "side":
        width = {"car": 3.0, "bus": 4.0, "truck": 3.8, "bicycle": 1.1, "dog": 1.0}[kind]
    elif kind in ("car", "bus", "truck"):
        width += 3.0 if light.lamps else 0.0
    pen = Pen(width, height, px_per_m, light, facing)
    if kind == "person":
        (_person_side if view == "side" else _person_front)(pen, look, phase, view == "rear")
    elif kind == "rider":
        (_rider_side if view == "side" else _rider_front)(pen, look, phase, view == "rear")
    elif kind == "bicycle":
        (_bicycle_side if view == "side" else _bicycle_front)(pen, look, phase)
    elif kind == "dog":
        _dog(pen, look, phase)
    elif view == "side":
        {"car": _car_side, "bus": _bus_side, "truck": _truck_side}[kind](pen, look, light)
    else:
        _vehicle_end(pen, kind, look, light, view == "rear")
    return pen.done()


# --- people ----------------------------------------------------------------------------------------------
def _head(pen: Pen, look: Look, x: float, y: float, r: float, side: float, rear: bool = False) -> None:
    pen.oval(x, y, r * 0.88, r, look.skin if not rear else look.hair)
    if not rear:  # hair: a cap of it on the crown and the back of the head
        pen.oval(x - side * r * 0.25, y + r * 0.38, r * 0.82, r * 0.68, look.hair)
        if look.style in (1, 3):
            pen.oval(x - side * r * 0.72, y - r * 0.25, r * 0.45, r * 0.95, look.hair)
        if side == 0:
            pen.oval(x, y - r * 0.15, r * 0.62, r * 0.6, look.skin)
    if look.extra > 0.85:
        pen.oval(x, y + r * 0.5, r * 0.95, r * 0.55, look.second)
        pen.rect(x - r * 0.4, y + r * 0.3, x + r * (0.6 + 0.9 * side), y + r * 0.5, shade(look.second, 0.8))


def _person_side(pen: Pen, look: Look, phase: float, _rear: bool) -> None:
    h, turn = look.height, 2 * math.pi * phase
    pen.shadow(0.05, 0.22 * h, 0.04 * h)
    swing = 0.48
    reach = {s: swing * math.sin(turn + s) for s in (0.0, math.pi)}
    bend = {s: 0.75 * max(0.0, math.cos(turn + s)) for s in reach}
    thigh = shin = 0.245 * h
    down = {s: thigh * math.cos(a) + shin * math.cos(a - bend[s]) for s, a in reach.items()}
    hip = max(down.values()) + 0.02 * h
    shoulder, trousers = hip + 0.31 * h, look.second

    def leg(s: float, colour: Colour) -> None:
        a = reach[s]
        knee = (thigh * math.sin(a), hip - thigh * math.cos(a))
        foot = (knee[0] + shin * math.sin(a - bend[s]), knee[1] - shin * math.cos(a - bend[s]))
        pen.line([(0, hip), knee], 0.092 * h, colour)
        pen.line([knee, foot], 0.072 * h, colour if look.extra > 0.25 else shade(look.skin, 0.9))
        pen.line([foot, (foot[0] + 0.06 * h, foot[1])], 0.045 * h, _BLACK)

    def arm(s: float, colour: Colour) -> None:
        a = -0.75 * reach[s]
        elbow = (0.15 * h * math.sin(a), shoulder - 0.02 * h - 0.15 * h * math.cos(a))
        hand = (elbow[0] + 0.14 * h * math.sin(a + 0.35), elbow[1] - 0.14 * h * math.cos(a + 0.35))
        pen.line([(0, shoulder - 0.03 * h), elbow, hand], 0.058 * h, colour)
        pen.oval(hand[0], hand[1], 0.026 * h, 0.026 * h, look.skin)

    arm(math.pi, shade(look.main, 0.7))
    leg(math.pi, shade(trousers, 0.75))
    leg(0.0, trousers)
    if look.style == 4:  # a backpack
        pack = shade(mix(look.main, look.hair, 0.7), 0.9)
        pen.poly(
            rounded(
                [
                    (-0.19 * h, hip + 0.06 * h),
                    (-0.02 * h, hip + 0.04 * h),
                    (-0.02 * h, shoulder),
                    (-0.16 * h, shoulder - 0.01 * h),
                ]
            ),
            pack,
        )
    low = hip - (0.17 * h if look.style == 3 else 0.03 * h)  # style 3 wears a dress or a coat
    wide = 0.12 * h if look.style == 3 else 0.075 * h
    pen.poly(
        rounded(
            [
                (-wide, low),
                (wide, low),
                (0.085 * h, hip + 0.2 * h),
                (0.06 * h, shoulder),
                (-0.06 * h, shoulder),
                (-0.085 * h, hip + 0.2 * h),
            ]
        ),
        look.main,
    )
    pen.line([(0.01 * h, shoulder - 0.01 * h), (0.015 * h, shoulder + 0.05 * h)], 0.05 * h, look.skin)
    _head(pen, look, 0.022 * h, shoulder + 0.105 * h, 0.073 * h, 1.0)
    arm(0.0, shade(look.main, 0.86))


def _person_front(pen: Pen, look: Look, phase: float, rear: bool) -> None:
    h, turn = look.height, 2 * math.pi * phase
    pen.shadow(0, 0.2 * h, 0.05 * h)
    hip, shoulder = 0.5 * h, 0.81 * h
    for side in (-1, 1):
        lift = 0.06 * h * max(0.0, math.sin(turn + side * math.pi / 2))
        x = side * 0.05 * h
        pen.line(
            [(x, hip), (x * 1.1, 0.28 * h), (x * 1.1, 0.03 * h + lift)],
            0.085 * h,
            shade(look.second, 1 - lift / h * 3),
        )
        pen.oval(x * 1.15, 0.025 * h + lift, 0.042 * h, 0.027 * h, _BLACK)
        hand = (side * 0.15 * h, 0.5 * h + 0.4 * lift)
        pen.line(
            [(side * 0.115 * h, shoulder - 0.03 * h), (side * 0.15 * h, 0.64 * h), hand],
            0.057 * h,
            shade(look.main, 0.84),
        )
        pen.oval(hand[0], hand[1], 0.026 * h, 0.028 * h, look.skin)
    low, wide = (0.3 * h, 0.14 * h) if look.style == 3 else (0.46 * h, 0.095 * h)
    pen.poly(
        rounded(
            [
                (-wide, low),
                (wide, low),
                (0.1 * h, 0.66 * h),
                (0.125 * h, shoulder),
                (-0.125 * h, shoulder),
                (-0.1 * h, 0.66 * h),
            ]
        ),
        look.main,
    )
    if look.style == 4 and rear:
        pen.poly(
            rounded(
                [(-0.09 * h, 0.55 * h), (0.09 * h, 0.55 * h), (0.08 * h, shoulder), (-0.08 * h, shoulder)]
            ),
            shade(look.hair, 1.2),
        )
    pen.line([(0, shoulder - 0.01 * h), (0, shoulder + 0.05 * h)], 0.055 * h, look.skin)
    _head(pen, look, 0, shoulder + 0.105 * h, 0.073 * h, 0.0, rear)


def _knee(hip: tuple[float, float], foot: tuple[float, float], bone: float) -> tuple[float, float]:
    """Where a knee goes that bends forward between hip and foot, both bones of one length."""
    dx, dy = foot[0] - hip[0], foot[1] - hip[1]
    span = min(math.hypot(dx, dy), 2 * bone - 1e-6)
    out = math.sqrt(bone * bone - span * span / 4)
    return (hip[0] + dx / 2 - dy / span * out, hip[1] + dy / 2 + dx / span * out)


def _rider_side(pen: Pen, look: Look, phase: float, _rear: bool) -> None:
    hip, shoulder, hand = (-0.22, 1.0), (0.14, 1.47), (0.42, 1.08)
    for side in (math.pi, 0.0):
        turn = -2 * math.pi * phase + side
        foot = (-0.06 + 0.16 * math.cos(turn), 0.33 + 0.16 * math.sin(turn))
        colour = shade(look.second, 0.72 if side else 1.0)
        pen.line([hip, _knee(hip, foot, 0.43), foot], 0.125, colour)
        pen.line([foot, (foot[0] + 0.12, foot[1])], 0.075, _BLACK)
        if side:
            pen.line([shoulder, (0.27, 1.16), hand], 0.09, shade(look.main, 0.68))
    pen.line([(hip[0] + 0.02, hip[1] + 0.03), (shoulder[0] - 0.04, shoulder[1] - 0.06)], 0.27, look.main)
    pen.line([shoulder, (0.25, 1.15), hand], 0.095, shade(look.main, 0.85))
    pen.oval(hand[0], hand[1], 0.045, 0.045, look.skin)
    pen.line([shoulder, (0.2, 1.6)], 0.09, look.skin)
    _head(pen, look, 0.23, 1.7, 0.125, 1.0)


def _rider_front(pen: Pen, look: Look, phase: float, rear: bool) -> None:
    for side in (-1, 1):
        foot = 0.33 + 0.15 * side * math.sin(2 * math.pi * phase)
        pen.line([(side * 0.1, 0.98), (side * 0.17, foot + 0.42), (side * 0.12, foot)], 0.125, look.second)
        pen.oval(side * 0.12, foot, 0.07, 0.05, _BLACK)
        pen.line([(side * 0.2, 1.4), (side * 0.31, 1.18), (side * 0.26, 1.06)], 0.095, shade(look.main, 0.85))
    pen.poly(
        rounded([(-0.17, 0.92), (0.17, 0.92), (0.2, 1.25), (0.21, 1.46), (-0.21, 1.46), (-0.2, 1.25)]),
        look.main,
    )
    _head(pen, look, 0, 1.64, 0.128, 0.0, rear)


# --- bicycles and dogs -----------------------------------------------------------------------------------
def _bicycle_side(pen: Pen, look: Look, phase: float) -> None:
    pen.shadow(0, 0.85, 0.06)
    back, front, crank = (-0.52, 0.345), (0.53, 0.345), (-0.06, 0.33)
    seat, head = (-0.2, 0.86), (0.37, 0.86)
    for wheel in (back, front):
        pen.ring(*wheel, 0.315, 0.06, _TYRE)
        for spoke in range(3):
            a = math.pi * (spoke / 3 - 2 * phase)
            dx, dy = 0.3 * math.cos(a), 0.3 * math.sin(a)
            pen.line([(wheel[0] - dx, wheel[1] - dy), (wheel[0] + dx, wheel[1] + dy)], 0.014, _RIM)
    pen.line([back, crank, seat, back], 0.05, look.main)
    pen.line([crank, (0.4, 0.74), (seat[0] + 0.02, seat[1] - 0.06)], 0.055, look.main)
    pen.line([front, head, (0.34, 1.0), (0.44, 1.03)], 0.05, shade(look.main, 0.8))
    pen.line([(seat[0] - 0.12, 0.93), (seat[0] + 0.1, 0.9)], 0.07, _BLACK)
    pen.line([(-0.2, 0.86), (-0.19, 0.92)], 0.04, _RIM)
    if look.extra > 0.6:
        pen.poly(rounded([(0.46, 0.75), (0.72, 0.75), (0.76, 0.98), (0.44, 0.98)], 1), rgb("#8a6238"))
    pen.oval(crank[0], crank[1], 0.07, 0.07, _RIM)
    pen.oval(0.47, 0.9, 0.04, 0.04, _LAMP, lit=True)
    pen.glow(0.6, 0.9, 0.5, 0.3, _LAMP, 0.6)


def _bicycle_front(pen: Pen, look: Look, _phase: float) -> None:
    pen.shadow(0, 0.3, 0.07)
    pen.oval(0, 0.345, 0.045, 0.345, _TYRE)
    pen.line([(-0.06, 0.34), (-0.05, 0.8), (0, 0.95), (0.05, 0.8), (0.06, 0.34)], 0.04, look.main)
    pen.line([(-0.3, 1.03), (-0.05, 1.0), (0.05, 1.0), (0.3, 1.03)], 0.05, _BLACK)
    pen.oval(0, 0.9, 0.055, 0.055, _LAMP, lit=True)
    pen.glow(0, 0.9, 0.35, 0.35, _LAMP, 0.6)


def _dog(pen: Pen, look: Look, phase: float) -> None:
    length, h, turn = look.length, look.height, 2 * math.pi * phase
    pen.shadow(0, 0.45 * length, 0.05)
    back = 0.72 * h
    for x, s in ((-0.28, 0.0), (-0.24, math.pi), (0.2, math.pi), (0.24, 0.0)):
        a = 0.5 * math.sin(turn + s)
        foot = (x * length + 0.5 * h * math.sin(a), max(0.02, back - 0.12 * h - 0.58 * h * math.cos(a)))
        pen.line([(x * length, back - 0.1 * h), foot], 0.13 * h, shade(look.main, 0.75 if s else 1.0))
    pen.oval(-0.02, back, 0.34 * length, 0.19 * h, look.main)
    pen.line(
        [(-0.32 * length, back + 0.05), (-0.46 * length, back + 0.3 * h + 0.05 * math.sin(2 * turn))],
        0.07 * h + 0.02,
        look.main,
    )
    pen.line([(0.22 * length, back + 0.05 * h), (0.34 * length, back + 0.3 * h)], 0.24 * h, look.main)
    pen.oval(0.36 * length, back + 0.36 * h, 0.2 * h, 0.17 * h, look.main)
    pen.oval(0.46 * length, back + 0.3 * h, 0.15 * h, 0.09 * h, shade(look.main, 1.25))
    pen.oval(0.31 * length, back + 0.38 * h, 0.07 * h, 0.15 * h, shade(look.main, 0.6))
    pen.oval(0.5 * length, back + 0.32 * h, 0.035 * h, 0.035 * h, _BLACK)


# --- vehicles --------------------------------------------------------------------------------------------
# Outlines of car bodies and of their windows: x as a share of the length from the rear, y of the height.
_CARS: tuple[tuple[list[tuple[float, float]], list[tuple[float, float]]], ...] = (
    (  # saloon
        [(0, 0.3), (0, 0.62), (0.03, 0.68), (0.17, 0.7), (0.29, 0.98), (0.36, 1), (0.55, 1), (0.62, 0.97), (0.75, 0.68), (0.94, 0.6), (1, 0.5), (1, 0.28)],
        [(0.21, 0.69), (0.31, 0.93), (0.58, 0.93), (0.7, 0.69)],
    ),
    (  # hatchback
        [(0.01, 0.28), (0, 0.62), (0.04, 0.9), (0.08, 1), (0.5, 1), (0.58, 0.96), (0.74, 0.66), (0.94, 0.58), (1, 0.48), (1, 0.28)],
        [(0.06, 0.66), (0.1, 0.92), (0.54, 0.92), (0.69, 0.66)],
    ),
    (  # SUV
        [(0, 0.32), (0, 0.68), (0.03, 0.95), (0.07, 1), (0.56, 1), (0.63, 0.97), (0.74, 0.7), (0.95, 0.66), (1, 0.58), (1, 0.3)],
        [(0.05, 0.7), (0.08, 0.92), (0.58, 0.92), (0.69, 0.7)],
    ),
    (  # coupé
        [(0, 0.3), (0.01, 0.64), (0.06, 0.7), (0.14, 0.72), (0.34, 0.97), (0.44, 1), (0.54, 0.97), (0.72, 0.66), (0.95, 0.56), (1, 0.46), (1, 0.28)],
        [(0.22, 0.71), (0.38, 0.92), (0.53, 0.92), (0.67, 0.68)],
    ),
    (  # estate
        [(0, 0.3), (0, 0.66), (0.04, 0.94), (0.08, 1), (0.56, 1), (0.63, 0.97), (0.77, 0.67), (0.95, 0.6), (1, 0.5), (1, 0.28)],
        [(0.05, 0.68), (0.09, 0.93), (0.59, 0.93), (0.72, 0.68)],
    ),
)  # fmt: skip


def _wheel(pen: Pen, x: float, r: float) -> None:
    pen.oval(x, r * 1.02, r * 1.22, r * 1.18, shade(_BLACK, 0.9))
    pen.oval(x, r, r, r, _TYRE)
    pen.oval(x, r, r * 0.62, r * 0.62, _RIM)
    pen.oval(x, r, r * 0.42, r * 0.42, shade(_RIM, 0.6))
    pen.oval(x, r, r * 0.16, r * 0.16, _RIM)


def _lamps(pen: Pen, length: float, y: float, light: Light) -> None:
    half = length / 2
    pen.poly(
        rounded(
            [
                (half - 0.22, y - 0.07),
                (half - 0.02, y - 0.07),
                (half - 0.03, y + 0.07),
                (half - 0.24, y + 0.07),
            ],
            1,
        ),
        _LAMP,
        light.lamps,
    )
    pen.rect(-half + 0.01, y - 0.06, -half + 0.13, y + 0.14, _TAIL, light.lamps)
    pen.glow(half + 0.25, y, 1.5, 0.55, _LAMP, 0.75)
    pen.glow(-half - 0.05, y, 0.55, 0.4, _TAIL, 0.8)


def _car_side(pen: Pen, look: Look, light: Light) -> None:
    length, h, half = look.length, look.height, look.length / 2
    pen.shadow(0, half * 1.05, 0.14)
    body, window = _CARS[look.style]
    pen.poly(
        rounded([(x * length - half, y * h - (0.08 * h if y < 0.35 else 0)) for x, y in body]), look.main
    )
    pen.poly(
        [(-half + 0.03, 0.2 * h), (half - 0.02, 0.2 * h), (half, 0.33 * h), (-half, 0.33 * h)],
        shade(look.main, 0.62),
    )
    pen.poly(
        [(-half + 0.04, 0.5 * h), (half - 0.1, 0.47 * h), (half - 0.3, 0.51 * h), (-half + 0.04, 0.545 * h)],
        shade(look.main, 1.22),
    )
    glass = shade(_GLASS, 0.9 + 0.5 * look.extra)
    pen.poly(rounded([(x * length - half, y * h) for x, y in window], 1), glass)
    wx0, wx1 = window[1][0] * length - half, window[2][0] * length - half
    pen.poly(
        [(wx0 + 0.25, 0.71 * h), (wx0 + 0.5, 0.71 * h), (wx0 + 0.72, 0.9 * h), (wx0 + 0.52, 0.9 * h)],
        shade(glass, 1.5),
    )
    pillar = (wx0 + wx1) / 2 + 0.08
    pen.line([(pillar, 0.93 * h), (pillar + 0.04, 0.66 * h)], 0.07, look.main)
    pen.line([(pillar + 0.04, 0.66 * h), (pillar + 0.04, 0.26 * h)], 0.02, shade(look.main, 0.55))
    pen.line([(pillar - 0.3, 0.6 * h), (pillar - 0.12, 0.6 * h)], 0.035, shade(look.main, 0.55))
    for x in (-0.31, 0.31):
        _wheel(pen, x * length, 0.225 * h)
    _lamps(pen, length, 0.47 * h, light)


def _bus_side(pen: Pen, look: Look, light: Light) -> None:
    length, h, half = look.length, look.height, look.length / 2
    pen.shadow(0, half * 1.03, 0.2)
    base = 0.32
    pen.poly(
        rounded(
            [
                (-half, base),
                (-half, h - 0.1),
                (-half + 0.3, h),
                (half - 0.35, h),
                (half - 0.06, h - 0.25),
                (half, 1.3),
                (half, base),
            ],
            1,
        ),
        look.main,
    )
    pen.rect(-half + 0.02, base, half - 0.02, base + 0.28, shade(look.main, 0.6))
    if look.style % 2:
        pen.rect(-half + 0.02, 0.95, half - 0.03, 1.15, shade(look.second, 1.1))
    glass = _GLASS_LIT if light.lamps else shade(_GLASS, 0.95 + 0.3 * look.extra)
    pen.poly(
        rounded(
            [(-half + 0.2, 1.35), (-half + 0.2, h - 0.45), (half - 0.12, h - 0.45), (half - 0.05, 1.35)],
            1,
            0.1,
        ),
        glass,
        light.lamps,
    )
    panes = round(length / 1.35)
    for i in range(1, panes):
        x = -half + 0.2 + i * (length - 0.4) / panes
        pen.line([(x, 1.35), (x, h - 0.45)], 0.09, shade(look.main, 0.5))
        if not light.lamps:
            pen.poly(
                [(x - 0.9, 1.5), (x - 0.7, 1.5), (x - 0.3, h - 0.55), (x - 0.5, h - 0.55)], shade(glass, 1.35)
            )
    for x in (half - 1.25, 0.3):
        pen.rect(x - 0.5, base + 0.06, x + 0.5, h - 0.5, shade(look.main, 0.45))
        for leaf in (-0.44, 0.04):
            pen.rect(x + leaf, base + 0.25, x + leaf + 0.4, h - 0.6, glass, light.lamps)
    pen.rect(half - 2.6, h - 0.36, half - 0.7, h - 0.12, _BLACK)
    pen.rect(half - 2.4, h - 0.3, half - 1.0 - look.extra, h - 0.18, rgb("#ffb52e"), lit=True)
    for x in (-half + 0.24 * length, half - 0.2 * length - 0.5):
        _wheel(pen, x, 0.48)
    _lamps(pen, length, 0.8, light)


def _truck_side(pen: Pen, look: Look, light: Light) -> None:
    length, h, half = look.length, look.height, look.length / 2
    pen.shadow(0, half * 1.03, 0.2)
    cab = 1.9
    pen.rect(-half + 0.1, 0.5, half - 0.3, 0.78, shade(_BLACK, 1.8))
    box = mix(look.second, rgb("#f2f2ee"), 0.75 if look.style < 3 else 0.2)
    if look.style == 1:  # a tipper, lower than its cab
        pen.poly(
            [(-half, 0.8), (-half - 0.05 + 0.1, 2.0), (half - cab - 0.25, 2.15), (half - cab - 0.2, 0.8)],
            look.second,
        )
        for i in range(6):
            x = -half + 0.4 + i * (length - cab - 0.7) / 6
            pen.line([(x, 0.85), (x, 2.0)], 0.08, shade(look.second, 0.7))
    else:
        pen.rect(-half, 0.78, half - cab - 0.15, h, box)
        pen.rect(-half, 0.78, half - cab - 0.15, 0.92, shade(box, 0.6))
        pen.rect(-half, h - 0.08, half - cab - 0.15, h, shade(box, 0.8))
        if look.extra > 0.4:
            pen.poly(
                [(-half, 1.3), (half - cab - 0.15, 1.7), (half - cab - 0.15, 2.2), (-half, 1.75)], look.main
            )
    top = min(h, 2.75)
    pen.poly(
        rounded(
            [
                (half - cab, 0.45),
                (half - cab, top),
                (half - 0.55, top),
                (half - 0.12, 1.6),
                (half, 1.35),
                (half, 0.45),
            ],
            1,
        ),
        look.main,
    )
    pen.poly(
        rounded(
            [
                (half - cab + 0.55, 1.5),
                (half - cab + 0.55, top - 0.25),
                (half - 0.62, top - 0.25),
                (half - 0.25, 1.5),
            ],
            1,
        ),
        shade(_GLASS, 1.1),
    )
    pen.rect(half - cab, 0.42, half, 0.68, shade(look.main, 0.5))
    pen.line([(half - cab + 0.45, 0.7), (half - cab + 0.45, top - 0.2)], 0.03, shade(look.main, 0.6))
    for x in (-half + 0.9, -half + 1.95 if length > 7.3 else half - 0.85, half - 0.85):
        _wheel(pen, x, 0.47)
    _lamps(pen, length, 0.95, light)


def _vehicle_end(pen: Pen, kind: str, look: Look, light: Light, rear: bool) -> None:
    """A car, bus or truck seen from the front or the rear."""
    h = look.height if kind != "truck" or rear else min(look.height, 2.75)
    w = {"car": 0.9, "bus": 1.25, "truck": 1.2}[kind]
    low = 0.2 if kind == "car" else 0.35
    pen.shadow(0, w * 1.1, 0.13)
    for side in (-1, 1):
        pen.rect(side * w * 0.92 - 0.12, 0, side * w * 0.92 + 0.12 - side * 0.06, 0.5, _TYRE)
    body = mix(look.second, rgb("#f2f2ee"), 0.75) if kind == "truck" and rear else look.main
    if kind == "car":
        pen.poly(
            rounded(
                [
                    (-w, low),
                    (-w, 0.6 * h),
                    (-0.74 * w, h * 0.97),
                    (-0.5 * w, h),
                    (0.5 * w, h),
                    (0.74 * w, h * 0.97),
                    (w, 0.6 * h),
                    (w, low),
                ]
            ),
            body,
        )
        glass = [(-0.8 * w, 0.62 * h), (-0.63 * w, 0.92 * h), (0.63 * w, 0.92 * h), (0.8 * w, 0.62 * h)]
        lamp_y, lamp_w = 0.47 * h, 0.34
    else:
        pen.poly(rounded([(-w, low), (-w, h - 0.05), (w, h - 0.05), (w, low)], 2, 0.2), body)
        bottom = 1.2 if kind == "bus" else 1.4
        glass = [(-w * 0.9, bottom), (-w * 0.88, h - 0.5), (w * 0.88, h - 0.5), (w * 0.9, bottom)]
        lamp_y, lamp_w = 0.75, 0.36
    if kind == "truck" and rear:
        pen.line([(0, 0.6), (0, h - 0.1)], 0.05, shade(body, 0.6))
        pen.line([(-w * 0.9, h - 0.25), (w * 0.9, h - 0.25)], 0.04, shade(body, 0.7))
    else:
        lit = light.lamps and kind == "bus"
        pen.poly(rounded(glass, 1, 0.1), _GLASS_LIT if lit else shade(_GLASS, 0.9 + 0.4 * look.extra), lit)
    pen.rect(-w + 0.02, low, w - 0.02, low + 0.16, shade(body, 0.55))
    if kind == "bus":
        pen.rect(-w * 0.7, h - 0.42, w * 0.7, h - 0.16, _BLACK)
        pen.rect(-w * 0.5, h - 0.36, w * 0.4, h - 0.22, rgb("#ffb52e"), lit=True)
    if not rear:
        pen.rect(-0.45 * w, lamp_y - 0.1, 0.45 * w, lamp_y + 0.06, shade(_BLACK, 2.0))
    pen.rect(-0.24, low + 0.14, 0.24, low + 0.26, rgb("#e8e4d0"))
    colour = _TAIL if rear else _LAMP
    for side in (-1, 1):
        x = side * (w - lamp_w / 2 - 0.04)
        pen.poly(
            rounded(
                [
                    (x - lamp_w / 2, lamp_y - 0.09),
                    (x + lamp_w / 2, lamp_y - 0.09),
                    (x + lamp_w / 2, lamp_y + 0.1),
                    (x - lamp_w / 2, lamp_y + 0.1),
                ],
                1,
            ),
            colour,
            light.lamps,
        )
    for side in (-1, 1):
        pen.glow(side * (w - lamp_w / 2), lamp_y, 0.8, 0.8, colour, 0.85)
