"""Sprites of the synthetic street: a pen that draws in metres, and the cut-out it ends as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]  # blue, green, red, each 0..255
Points = Sequence[tuple[float, float]]

_OVERSAMPLE = 3
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions
_SOLID = 100  # alpha from which a pixel belongs to the object; shadows and glows stay below it
_SHADOW = 80


def rgb(code: str) -> Colour:
    """'#rrggbb' as OpenCV's (blue, green, red)."""
    value = int(code.lstrip("#"), 16)
    return value & 255, (value >> 8) & 255, value >> 16


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter (factor > 1)."""
    b, g, r = (max(0, min(255, round(c * factor))) for c in colour)
    return b, g, r


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """(1 - share) of a and share of b."""
    blue, green, red = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return blue, green, red


def rounded(points: Points, passes: int = 2, radius_m: float = 0.3) -> list[tuple[float, float]]:
    """The closed polygon with its corners cut (Chaikin's algorithm), at most radius_m from each corner."""
    ring = np.asarray(points, np.float64)
    for _ in range(passes):
        edge = np.roll(ring, -1, axis=0) - ring
        length = np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-9)
        cut = edge * np.minimum(0.22, radius_m / length)
        ring = np.stack([ring + cut, ring + edge - cut], axis=1).reshape(-1, 2)
        radius_m /= 3
    return [(float(x), float(y)) for x, y in ring]


@dataclass(frozen=True, slots=True)
class Light:
    """The light that falls on the scene: factors per channel, and whether lamps are lit."""

    blue: float = 1.0
    green: float = 1.0
    red: float = 1.0
    lamps: bool = False
    shadow: float = 1.0  # 0 (overcast night) .. 1 (sun)

    def __call__(self, colour: Colour) -> Colour:
        b, g, r = colour
        return min(255, round(b * self.blue)), min(255, round(g * self.green)), min(255, round(r * self.red))


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cut-out. `over` is premultiplied colour, `keep` the share of what lies below that shows through."""

    over: Image  # uint8 [h, w, 3], BGR times alpha
    keep: Image  # uint8 [h, w, 3], 255 - alpha
    mask: Mask  # bool [h, w]: the object itself, without its shadow and glow
    anchor: tuple[int, int]  # the pixel that stands on the ground point
    box: tuple[int, int, int, int]  # xyxy of the mask inside the sprite, right and lower edges exclusive
    area: int  # pixels of the mask

    def paste(self, frame: Image, left: int, top: int) -> None:
        """Draw onto frame uint8 [H, W, 3] with the sprite's corner at (left, top); what is outside is cut."""
        height, width = self.over.shape[:2]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, frame.shape[1]), min(top + height, frame.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        part = frame[y0:y1, x0:x1]
        cut = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        cv2.multiply(part, self.keep[cut], dst=part, scale=1 / 255)
        cv2.add(part, self.over[cut], dst=part)


def make_sprite(over: Image, alpha: Image, anchor: tuple[int, int]) -> Sprite:
    """A sprite from premultiplied colour uint8 [h, w, 3] and alpha uint8 [h, w]."""
    mask = alpha >= _SOLID
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = (0, 0, 0, 0)
    if columns.size:
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    keep = cv2.merge([255 - alpha] * 3)
    return Sprite(over, np.asarray(keep, np.uint8), mask, anchor, box, int(np.count_nonzero(mask)))


class Pen:
    """Draws in metres: x right from the middle, y up from the ground; `facing` -1 mirrors the result."""

    def __init__(
        self, width_m: float, height_m: float, px_per_m: float, light: Light, facing: int = 1
    ) -> None:
        self._k = px_per_m * _OVERSAMPLE
        self._half, self._top, self._below = width_m / 2, height_m, 0.14 * width_m**0.5
        self._light, self._facing = light, facing
        width = max(4, round(width_m * px_per_m)) * _OVERSAMPLE
        height = max(4, round((height_m + self._below) * px_per_m)) * _OVERSAMPLE
        self._over = np.zeros((height, width, 3), np.uint8)
        self._alpha = np.zeros((height, width), np.uint8)

    def _px(self, points: Points) -> npt.NDArray[np.int32]:
        grid = np.asarray(points, np.float64)
        xy = np.stack([(grid[:, 0] + self._half), (self._top - grid[:, 1])], axis=1) * self._k
        return np.round(xy * (1 << _SHIFT)).astype(np.int32)

    def _thick(self, metres: float) -> int:
        return max(1, round(metres * self._k))

    def poly(self, points: Points, colour: Colour, lit: bool = False) -> None:
        """Fill a polygon; `lit` colours glow by themselves and do not darken at night."""
        px = [self._px(points)]
        cv2.fillPoly(self._over, px, colour if lit else self._light(colour), shift=_SHIFT)
        cv2.fillPoly(self._alpha, px, 255, shift=_SHIFT)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, lit: bool = False) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, lit)

    def line(self, points: Points, thick_m: float, colour: Colour) -> None:
        """An open line with round joints."""
        px, thick = [self._px(points)], self._thick(thick_m)
        cv2.polylines(self._over, px, False, self._light(colour), thick, shift=_SHIFT)
        cv2.polylines(self._alpha, px, False, 255, thick, shift=_SHIFT)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, lit: bool = False, turn: float = 0
    ) -> None:
        """Fill an ellipse with radii rx, ry, turned by `turn` degrees anticlockwise."""
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        along, across = rx * np.cos(angle), ry * np.sin(angle)
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        ring = np.stack([x + along * c - across * s, y + along * s + across * c], axis=1)
        self.poly([(float(px), float(py)) for px, py in ring], colour, lit)

    def ring(self, x: float, y: float, radius: float, thick_m: float, colour: Colour) -> None:
        """A circle's outline."""
        angle = np.linspace(0, 2 * np.pi, 33)
        self.line(
            [(float(x + radius * np.cos(a)), float(y + radius * np.sin(a))) for a in angle], thick_m, colour
        )

    def shadow(self, x: float, rx: float, ry: float) -> None:
        """A soft patch on the ground; no part of the object. To be drawn first."""
        px = self._px([(x, 0.0)])[0]
        axes = (round(rx * self._k * (1 << _SHIFT)), round(ry * self._k * (1 << _SHIFT)))
        for size, level in ((1.0, 0.45), (0.85, 0.8), (0.65, 1.0)):
            cv2.ellipse(
                self._alpha,
                (int(px[0]), int(px[1])),
                (round(axes[0] * size), round(axes[1] * size)),
                0, 0, 360, round(_SHADOW * level * self._light.shadow), -1, shift=_SHIFT,
            )  # fmt: skip

    def glow(self, x: float, y: float, rx: float, ry: float, colour: Colour, strength: float = 0.5) -> None:
        """Light added around a lamp, if lamps are lit; weaker on the object itself. To be drawn last."""
        if not self._light.lamps:
            return
        rows, columns = self._alpha.shape
        gx, gy = (x + self._half) * self._k, (self._top - y) * self._k
        dx = (np.arange(columns, dtype=np.float32) - gx) / (rx * self._k)
        dy = (np.arange(rows, dtype=np.float32) - gy) / (ry * self._k)
        fall = np.clip(1 - np.sqrt(dx[None, :] ** 2 + dy[:, None] ** 2), 0, 1) ** 2 * strength
        fall[self._alpha == 255] *= 0.3
        added = fall[..., None] * np.asarray(colour, np.float32)
        self._over = cv2.add(self._over, added.astype(np.uint8))

    def done(self) -> Sprite:
        """The finished sprite, scaled down from the oversampled drawing."""
        height, width = self._alpha.shape
        size = (width // _OVERSAMPLE, height // _OVERSAMPLE)
        over = np.asarray(cv2.resize(self._over, size, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = np.asarray(cv2.resize(self._alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
        if self._facing < 0:
            over, alpha = np.ascontiguousarray(over[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])
        k = self._k / _OVERSAMPLE
        return make_sprite(over, alpha, (size[0] // 2, min(size[1] - 1, round(self._top * k))))


def resized(sprite: Sprite, factor: float) -> Sprite:
    """The sprite at another scale."""
    height, width = sprite.mask.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    over = np.asarray(cv2.resize(sprite.over, size, interpolation=how), np.uint8)
    alpha = np.asarray(cv2.resize(255 - sprite.keep[..., 0], size, interpolation=how), np.uint8)
    return make_sprite(over, alpha, (round(sprite.anchor[0] * factor), round(sprite.anchor[1] * factor)))
