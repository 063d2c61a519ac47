"""What the synthetic street's vehicles have in common: colours, wheels, lamps."""

from __future__ import annotations

from model.street.pen import Light, Pen, rgb, rounded, shade

GLASS, GLASS_LIT = rgb("#2f4554"), rgb("#e8cf8a")
TYRE, RIM, BLACK = rgb("#1b1b1d"), rgb("#b9bec4"), rgb("#141416")
LAMP, TAIL = rgb("#fff3c4"), rgb("#e02020")


def wheel(pen: Pen, x: float, r: float) -> None:
    pen.oval(x, r * 1.02, r * 1.22, r * 1.18, shade(BLACK, 0.9))
    pen.oval(x, r, r, r, TYRE)
    pen.oval(x, r, r * 0.62, r * 0.62, RIM)
    pen.oval(x, r, r * 0.42, r * 0.42, shade(RIM, 0.6))
    pen.oval(x, r, r * 0.16, r * 0.16, RIM)


def side_lamps(pen: Pen, length: float, y: float, light: Light) -> None:
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
        LAMP,
        light.lamps,
    )
    pen.rect(-half + 0.01, y - 0.06, -half + 0.13, y + 0.14, TAIL, light.lamps)
    pen.glow(half + 0.25, y, 1.5, 0.55, LAMP, 0.75)
    pen.glow(-half - 0.05, y, 0.55, 0.4, TAIL, 0.8)
