"""Bicycles and dogs of the synthetic street. Side views look to the right."""

from __future__ import annotations

import math

from model.street.look import Look
from model.street.pen import Pen, rgb, rounded, shade

_BLACK, _TYRE, _RIM, _LAMP = rgb("#141416"), rgb("#1b1b1d"), rgb("#b9bec4"), rgb("#fff3c4")


def bicycle_side(pen: Pen, look: Look, phase: float) -> None:
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


def bicycle_front(pen: Pen, look: Look, _phase: float) -> None:
    pen.shadow(0, 0.3, 0.07)
    pen.oval(0, 0.345, 0.045, 0.345, _TYRE)
    pen.line([(-0.06, 0.34), (-0.05, 0.8), (0, 0.95), (0.05, 0.8), (0.06, 0.34)], 0.04, look.main)
    pen.line([(-0.3, 1.03), (-0.05, 1.0), (0.05, 1.0), (0.3, 1.03)], 0.05, _BLACK)
    pen.oval(0, 0.9, 0.055, 0.055, _LAMP, lit=True)
    pen.glow(0, 0.9, 0.35, 0.35, _LAMP, 0.6)


def dog(pen: Pen, look: Look, phase: float) -> None:
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
