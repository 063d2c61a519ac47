"""Cars, buses and trucks of the synthetic street from the front and the rear."""

from __future__ import annotations

from model.street.look import Look
from model.street.pen import Colour, Light, Pen, Points, mix, rgb, rounded, shade
from model.street.vehicle_parts import BLACK, GLASS, GLASS_LIT, LAMP, TAIL, TYRE


def vehicle_end(pen: Pen, kind: str, look: Look, light: Light, rear: bool) -> None:
    """A car, bus or truck seen from the front or the rear."""
    h = look.height if kind != "truck" or rear else min(look.height, 2.75)
    w = {"car": 0.9, "bus": 1.25, "truck": 1.2}[kind]
    low = 0.2 if kind == "car" else 0.35
    pen.shadow(0, w * 1.1, 0.13)
    for side in (-1, 1):
        pen.rect(side * w * 0.92 - 0.12, 0, side * w * 0.92 + 0.12 - side * 0.06, 0.5, TYRE)
    body = mix(look.second, rgb("#f2f2ee"), 0.75) if kind == "truck" and rear else look.main
    pen.poly(_outline(kind, w, h, low), body)
    if kind == "truck" and rear:
        pen.line([(0, 0.6), (0, h - 0.1)], 0.05, shade(body, 0.6))
        pen.line([(-w * 0.9, h - 0.25), (w * 0.9, h - 0.25)], 0.04, shade(body, 0.7))
    else:
        lit = light.lamps and kind == "bus"
        glass = GLASS_LIT if lit else shade(GLASS, 0.9 + 0.4 * look.extra)
        pen.poly(rounded(_window(kind, w, h), 1, 0.1), glass, lit)
    pen.rect(-w + 0.02, low, w - 0.02, low + 0.16, shade(body, 0.55))
    if kind == "bus":
        pen.rect(-w * 0.7, h - 0.42, w * 0.7, h - 0.16, BLACK)
        pen.rect(-w * 0.5, h - 0.36, w * 0.4, h - 0.22, rgb("#ffb52e"), lit=True)
    lamp_y, lamp_w = (0.47 * h, 0.34) if kind == "car" else (0.75, 0.36)
    if not rear:
        pen.rect(-0.45 * w, lamp_y - 0.1, 0.45 * w, lamp_y + 0.06, shade(BLACK, 2.0))
    pen.rect(-0.24, low + 0.14, 0.24, low + 0.26, rgb("#e8e4d0"))
    _lamps(pen, w, lamp_y, lamp_w, TAIL if rear else LAMP, light)


def _outline(kind: str, w: float, h: float, low: float) -> Points:
    if kind != "car":
        return rounded([(-w, low), (-w, h - 0.05), (w, h - 0.05), (w, low)], 2, 0.2)
    return rounded([
        (-w, low), (-w, 0.6 * h), (-0.74 * w, h * 0.97), (-0.5 * w, h),
        (0.5 * w, h), (0.74 * w, h * 0.97), (w, 0.6 * h), (w, low),
    ])  # fmt: skip


def _window(kind: str, w: float, h: float) -> Points:
    if kind == "car":
        return [(-0.8 * w, 0.62 * h), (-0.63 * w, 0.92 * h), (0.63 * w, 0.92 * h), (0.8 * w, 0.62 * h)]
    bottom = 1.2 if kind == "bus" else 1.4
    return [(-w * 0.9, bottom), (-w * 0.88, h - 0.5), (w * 0.88, h - 0.5), (w * 0.9, bottom)]


def _lamps(pen: Pen, w: float, y: float, width: float, colour: Colour, light: Light) -> None:
    for side in (-1, 1):
        x = side * (w - width / 2 - 0.04)
        left, right = x - width / 2, x + width / 2
        corners = [(left, y - 0.09), (right, y - 0.09), (right, y + 0.1), (left, y + 0.1)]
        pen.poly(rounded(corners, 1), colour, light.lamps)
    for side in (-1, 1):
        pen.glow(side * (w - width / 2), y, 0.8, 0.8, colour, 0.85)
