"""People of the synthetic street, on foot and on a bicycle. Side views look to the right."""

from __future__ import annotations

import math

from model.street.look import Look
from model.street.pen import Colour, Pen, mix, rgb, rounded, shade

_BLACK = rgb("#141416")


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


def person_side(pen: Pen, look: Look, phase: float, _rear: bool) -> None:
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


def person_front(pen: Pen, look: Look, phase: float, rear: bool) -> None:
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


def rider_side(pen: Pen, look: Look, phase: float, _rear: bool) -> None:
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


def rider_front(pen: Pen, look: Look, phase: float, rear: bool) -> None:
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
