"""Cars, buses and trucks of the synthetic street from the side, looking to the right."""

from __future__ import annotations

from model.street.look import Look
from model.street.pen import Light, Pen, mix, rgb, rounded, shade
from model.street.vehicle_parts import BLACK, GLASS, GLASS_LIT, side_lamps, wheel

# Outlines of car bodies and of their windows: x as a share of the length from the rear, y of the height.
_CARS: tuple[tuple[list[tuple[float, float]], list[tuple[float, float]]], ...] = (
    (  # saloon
        [(0, 0.3), (0, 0.62), (0.03, 0.68), (0.17, 0.7), (0.29, 0.98), (0.36, 1), (0.55, 1),
         (0.62, 0.97), (0.75, 0.68), (0.94, 0.6), (1, 0.5), (1, 0.28)],
        [(0.21, 0.69), (0.31, 0.93), (0.58, 0.93), (0.7, 0.69)],
    ),
    (  # hatchback
        [(0.01, 0.28), (0, 0.62), (0.04, 0.9), (0.08, 1), (0.5, 1), (0.58, 0.96), (0.74, 0.66),
         (0.94, 0.58), (1, 0.48), (1, 0.28)],
        [(0.06, 0.66), (0.1, 0.92), (0.54, 0.92), (0.69, 0.66)],
    ),
    (  # SUV
        [(0, 0.32), (0, 0.68), (0.03, 0.95), (0.07, 1), (0.56, 1),
         (0.63, 0.97), (0.74, 0.7), (0.95, 0.66), (1, 0.58), (1, 0.3)],
        [(0.05, 0.7), (0.08, 0.92), (0.58, 0.92), (0.69, 0.7)],
    ),
    (  # coupé
        [(0, 0.3), (0.01, 0.64), (0.06, 0.7), (0.14, 0.72), (0.34, 0.97), (0.44, 1), (0.54, 0.97),
         (0.72, 0.66), (0.95, 0.56), (1, 0.46), (1, 0.28)],
        [(0.22, 0.71), (0.38, 0.92), (0.53, 0.92), (0.67, 0.68)],
    ),
    (  # estate
        [(0, 0.3), (0, 0.66), (0.04, 0.94), (0.08, 1), (0.56, 1),
         (0.63, 0.97), (0.77, 0.67), (0.95, 0.6), (1, 0.5), (1, 0.28)],
        [(0.05, 0.68), (0.09, 0.93), (0.59, 0.93), (0.72, 0.68)],
    ),
)  # fmt: skip


def car_side(pen: Pen, look: Look, light: Light) -> None:
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
    glass = shade(GLASS, 0.9 + 0.5 * look.extra)
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
        wheel(pen, x * length, 0.225 * h)
    side_lamps(pen, length, 0.47 * h, light)


def bus_side(pen: Pen, look: Look, light: Light) -> None:
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
    glass = GLASS_LIT if light.lamps else shade(GLASS, 0.95 + 0.3 * look.extra)
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
    pen.rect(half - 2.6, h - 0.36, half - 0.7, h - 0.12, BLACK)
    pen.rect(half - 2.4, h - 0.3, half - 1.0 - look.extra, h - 0.18, rgb("#ffb52e"), lit=True)
    for x in (-half + 0.24 * length, half - 0.2 * length - 0.5):
        wheel(pen, x, 0.48)
    side_lamps(pen, length, 0.8, light)


def truck_side(pen: Pen, look: Look, light: Light) -> None:
    length, h, half = look.length, look.height, look.length / 2
    pen.shadow(0, half * 1.03, 0.2)
    cab = 1.9
    pen.rect(-half + 0.1, 0.5, half - 0.3, 0.78, shade(BLACK, 1.8))
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
        shade(GLASS, 1.1),
    )
    pen.rect(half - cab, 0.42, half, 0.68, shade(look.main, 0.5))
    pen.line([(half - cab + 0.45, 0.7), (half - cab + 0.45, top - 0.2)], 0.03, shade(look.main, 0.6))
    for x in (-half + 0.9, -half + 1.95 if length > 7.3 else half - 0.85, half - 0.85):
        wheel(pen, x, 0.47)
    side_lamps(pen, length, 0.95, light)
