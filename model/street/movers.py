"""What moves in the synthetic street and where it is at a given time."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from model.street.look import Look, look_for
from model.street.pen import Light, Sprite, resized
from model.street.sprites import draw
from model.street.view import View

_PHASES = {"person": 12, "rider": 10, "bicycle": 10, "dog": 8}
_STRIDE_M = {"person": 1.35, "rider": 5.0, "bicycle": 5.0, "dog": 0.9}  # the way of one turn of the gait
_STEP = 1.03  # neighbouring scales of a sprite that comes nearer
_CACHE_BYTES = 96 << 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A sprite in a frame. kind: a class name, 'rider', or a piece of clutter."""

    kind: str
    sprite: Sprite
    left: int
    top: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy of the object in the frame, also beyond its edges."""
        x0, y0, x1, y1 = self.sprite.box
        return x0 + self.left, y0 + self.top, x1 + self.left, y1 + self.top


class SpriteCache:
    """Sprites by key, the least used forgotten beyond a number of bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, int], Sprite] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int, int]) -> Sprite | None:
        sprite = self._kept.get(key)
        if sprite is not None:
            self._kept.move_to_end(key)
        return sprite

    def put(self, key: tuple[int, int, int], sprite: Sprite) -> None:
        self._kept[key] = sprite
        self._bytes += 7 * sprite.mask.size
        while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= 7 * self._kept.popitem(last=False)[1].mask.size


@dataclass(frozen=True, slots=True)
class Path:
    """How something moves: over `loop_m` metres again and again, along x if `across`, else along z."""

    across: bool
    at: float  # the other coordinate: distance z if across, offset x if along
    start_m: float
    speed: float  # metres per second; the sign is the direction
    loop_m: float
    first_m: float  # the loop begins at this x (across) or z (along)

    def place(self, t_s: float) -> tuple[float, float]:
        """x, z on the ground at a time."""
        way = self.first_m + (self.start_m + self.speed * t_s) % self.loop_m
        return (way, self.at) if self.across else (self.at, way)


class Mover:
    """One object (or a bicycle and its rider, drawn as two) on its path."""

    def __init__(
        self, uid: int, kinds: tuple[str, ...], path: Path, px_per_m: float, rng: np.random.Generator
    ) -> None:
        """px_per_m: the scale its master picture is drawn at."""
        self._uid, self._kinds, self.path, self._px_per_m = uid, kinds, path, px_per_m
        self._looks: tuple[Look, ...] = tuple(look_for("person" if k == "rider" else k, rng) for k in kinds)
        self._offset = float(rng.random())
        if path.across:
            self._view = "side" if path.speed or kinds[0] != "person" or rng.random() < 0.3 else "front"
        else:
            self._view = "rear" if path.speed > 0 or (path.speed == 0 and rng.random() < 0.5) else "front"
        self._facing = (
            -1 if path.across and (path.speed < 0 or (path.speed == 0 and rng.random() < 0.5)) else 1
        )

    @property
    def length(self) -> float:
        return self._looks[0].length

    def placed(self, t_s: float, view: View, light: Light, cache: SpriteCache) -> tuple[float, list[Placed]]:
        """Its distance z and its sprites at a time; none if it is out of the picture."""
        x, z = self.path.place(t_s)
        px, py = view.ground(x, z)
        k = view.scale(z)
        reach = 7 * k
        if px < -reach or px > view.width + reach or py - 4 * k > view.height:
            return z, []
        step = round(math.log(k / self._px_per_m, _STEP))
        out = []
        for part, kind in enumerate(self._kinds):
            phases = _PHASES.get(kind, 1) if self.path.speed else 1
            turn = t_s * abs(self.path.speed) / _STRIDE_M.get(kind, 1.0) + self._offset
            phase = int((turn % 1.0) * phases) % phases if phases > 1 else 0
            sprite = self._sprite(part, phase, phases, step, light, cache)
            out.append(Placed(kind, sprite, round(px) - sprite.anchor[0], round(py) - sprite.anchor[1]))
        return z, out

    def _sprite(
        self, part: int, phase: int, phases: int, step: int, light: Light, cache: SpriteCache
    ) -> Sprite:
        key = (self._uid * 4 + part, phase, step)
        sprite = cache.get(key)
        if sprite is None:
            if step:
                master = self._sprite(part, phase, phases, 0, light, cache)
                sprite = resized(master, _STEP**step)
            else:
                turn = phase / phases if phases > 1 else 0.05 if self._kinds[part] == "person" else 0.4
                sprite = draw(
                    self._kinds[part],
                    self._looks[part],
                    self._view,
                    turn,
                    self._px_per_m,
                    light,
                    self._facing,
                )
            cache.put(key, sprite)
        return sprite
