"""The random make-up of a synthetic street: camera, light, weather, what stands where and what moves how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from model.street.clutter import draw_clutter
from model.street.movers import Mover, Path, Placed, SpriteCache
from model.street.pen import Light
from model.street.view import Plan, View

_LIGHTS = {
    "day": Light(),
    "dusk": Light(0.82, 0.78, 0.92, lamps=True, shadow=0.6),
    "overcast": Light(0.88, 0.86, 0.84, shadow=0.5),
    "night": Light(0.62, 0.5, 0.46, lamps=True, shadow=0.5),
}
_FAR_Z = 110.0


@dataclass
class Layout:
    """A scene's parts; `placed` tells where the moving ones are."""

    view: View
    plan: Plan
    sky: str
    light: Light
    rain: float
    noise: float
    movers: list[Mover] = field(default_factory=list)
    standing: list[tuple[float, Placed]] = field(default_factory=list)  # (z, clutter)
    baked: list[Placed] = field(default_factory=list)  # clutter behind all movers
    cache: SpriteCache = field(default_factory=SpriteCache)

    def placed(self, t_s: float) -> list[Placed]:
        """All sprites at a time, far to near."""
        parts = [(z, [item]) for z, item in self.standing]
        parts += [mover.placed(t_s, self.view, self.light, self.cache) for mover in self.movers]
        parts.sort(key=lambda part: -part[0])
        return [item for _, items in parts for item in items]


def make_layout(rng: np.random.Generator, width: int, height: int) -> Layout:
    """Draw a street at random for a frame of that size."""
    sky = str(rng.choice(["day", "day", "day", "dusk", "overcast", "night"]))
    rain = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.22 else 0.0
    if rain and sky == "day":
        sky = "overcast"
    noise = float(rng.choice([0.0, 0.0, 2.0, 4.0])) + (2.0 if sky == "night" else 0.0)
    along = bool(rng.random() < 0.35)
    view, plan = _camera(rng, width, height, along)
    layout = Layout(view, plan, sky, _LIGHTS[sky], rain, noise)
    busy = 0.0 if rng.random() < 0.03 else float(rng.uniform(0.35, 1.25))
    if along:
        _fill_along(layout, rng, busy)
    else:
        _fill_across(layout, rng, busy)
    layout.standing.sort(key=lambda part: -part[0])
    farthest = max((m.path.at for m in layout.movers), default=0.0) if not along else _FAR_Z
    layout.baked = [item for z, item in layout.standing if z > farthest]
    layout.standing = [(z, item) for z, item in layout.standing if z <= farthest]
    return layout


def _camera(rng: np.random.Generator, width: int, height: int, along: bool) -> tuple[View, Plan]:
    k = max(width, height) / 1280
    lane_m = float(rng.uniform(3.1, 3.6))
    if along:
        lanes = int(rng.integers(2, 5))
        focal, tall = float(rng.uniform(650, 1000)) * k, float(rng.uniform(5.5, 8.5))
        left = float(rng.uniform(-140, 140)) * k
        kerb = lanes * lane_m / 2
        view = View(width, height, float(rng.uniform(0.16, 0.34)) * height, focal, tall, True, left)
        return view, Plan(kerb + float(rng.uniform(3, 5)), kerb, lanes, lane_m, 0.0)
    lanes = int(rng.integers(1, 4))
    wall = float(rng.uniform(24, 36))
    kerb = wall - float(rng.uniform(2.8, 5.0))
    near = kerb - lanes * lane_m - float(rng.uniform(0.8, 2.0))
    focal = float(rng.uniform(24, 42)) * wall * k
    horizon = float(rng.uniform(0.16, 0.36)) * height
    # The near kerb shall lie in the picture, at 60 to 82 % of its height.
    tall = (float(rng.uniform(0.6, 0.82)) * height - horizon) * near / focal
    return View(width, height, horizon, focal, tall, False), Plan(wall, kerb, lanes, lane_m, near)


def _put(layout: Layout, rng: np.random.Generator, kind: str, x: float, z: float) -> None:
    """Stand a piece of clutter on the ground."""
    px, py = layout.view.ground(x, z)
    k = layout.view.scale(z)
    if -4 * k < px < layout.view.width + 4 * k and py - 8 * k < layout.view.height and k < 160:
        sprite = draw_clutter(kind, rng, k, layout.light)
        layout.standing.append(
            (z, Placed(kind, sprite, round(px) - sprite.anchor[0], round(py) - sprite.anchor[1]))
        )


def _kind_of_vehicle(rng: np.random.Generator) -> str:
    return str(rng.choice(["car", "bus", "truck"], p=[0.58, 0.2, 0.22]))


def _fill_across(layout: Layout, rng: np.random.Generator, busy: float) -> None:
    view, plan = layout.view, layout.plan
    trees = str(rng.choice(["tree", "pine"]))

    def half(z: float) -> float:
        return view.width / 2 / view.scale(z)

    def add(kinds: tuple[str, ...], z: float, start: float, speed: float, loop: float) -> Mover:
        path = Path(True, z, start, speed, loop, -loop / 2)
        mover = Mover(len(layout.movers), kinds, path, view.scale(z), rng)
        layout.movers.append(mover)
        return mover

    def walkers(count: float, z0: float, z1: float) -> None:
        for _ in range(rng.poisson(count)):
            z = float(rng.uniform(z0, z1))
            loop = 2 * half(z) + float(rng.uniform(2, 10))
            speed = 0.0 if rng.random() < 0.12 else float(rng.uniform(0.8, 1.7)) * float(rng.choice([-1, 1]))
            start = float(rng.uniform(0, loop))
            add(("person",), z, start, speed, loop)
            if rng.random() < 0.2 and speed:
                add(("dog",), z - 0.05, start + float(np.sign(speed)) * 0.95, speed, loop)
            elif rng.random() < 0.25:
                add(("person",), z - 0.3, start + float(rng.uniform(-0.7, 0.7)), speed, loop)

    walkers(5 * busy, plan.kerb + 0.4, plan.wall - 0.6)
    for lane in range(plan.lanes):
        z = plan.kerb - (lane + 0.5) * plan.lane_m
        _queue(rng, busy, half(z), z, lane * 2 < plan.lanes, add)
    z_bike = plan.near + 0.55
    for _ in range(rng.poisson(1.6 * busy)):
        loop = 2 * half(z_bike) + 8
        add(("bicycle", "rider"), z_bike, float(rng.uniform(0, loop)), float(rng.uniform(3, 5.5)), loop)
    # The foremost walk a little above the frame's lower edge.
    deep = max(plan.near * 0.55, view.focal * view.tall / (view.height * 0.97 - view.horizon))
    walkers(4.5 * busy, min(deep, plan.near - 0.6), plan.near - 0.5)
    for _ in range(rng.poisson(1.2)):  # parked bicycles
        z = float(rng.choice([plan.wall - 0.5, plan.near - 0.9]))
        add(("bicycle",), z, float(rng.uniform(0, 2 * half(z))), 0.0, 2 * half(z))
    _furnish_across(layout, rng, trees, half(plan.wall))


def _queue(
    rng: np.random.Generator, busy: float, half: float, z: float, leftwards: bool, add: Callable[..., Mover]
) -> None:
    """Vehicles of one lane, at one speed, with gaps between them."""
    loop = 2 * half + 30
    speed = (0.0 if rng.random() < 0.1 else float(rng.uniform(3.5, 10))) * (-1 if leftwards else 1)
    at = float(rng.uniform(0, 8))
    while busy:
        kind = _kind_of_vehicle(rng)
        length = {"car": 4.8, "bus": 12.0, "truck": 8.6}[kind]
        if at + length + 2 > loop:
            return
        add((kind,), z, at + length / 2, speed, loop)
        at += length + float(rng.uniform(1.5, 5)) + float(rng.exponential(9 / busy))


def _furnish_across(layout: Layout, rng: np.random.Generator, trees: str, half: float) -> None:
    plan = layout.plan
    for x in np.arange(-half, half, float(rng.uniform(6, 14))):
        if rng.random() < 0.7:
            _put(
                layout,
                rng,
                trees if rng.random() < 0.7 else "lamp",
                float(x + rng.uniform(-1, 1)),
                plan.kerb + 0.45,
            )
    for _ in range(rng.poisson(5)):
        kind = str(rng.choice(["sign", "bin", "bench", "bush", "hydrant"]))
        z = float(rng.choice([plan.wall - 0.35, plan.kerb + 0.6, plan.near - 0.5]))
        _put(layout, rng, kind, float(rng.uniform(-half, half)), z)
    for _ in range(rng.poisson(1.4)):
        kind = str(rng.choice([trees, "lamp", "sign"]))
        _put(layout, rng, kind, float(rng.uniform(-half, half) * plan.near / plan.wall), plan.near - 0.4)


def _fill_along(layout: Layout, rng: np.random.Generator, busy: float) -> None:
    view, plan = layout.view, layout.plan
    close = max(4.0, view.focal * (view.tall - 3.4) / (view.height - view.horizon))

    def add(kinds: tuple[str, ...], x: float, start: float, speed: float) -> None:
        path = Path(False, x, start, speed, _FAR_Z - close, close)
        layout.movers.append(
            Mover(len(layout.movers), kinds, path, 60 * max(view.width, view.height) / 1280, rng)
        )

    for lane in range(plan.lanes):
        x = -plan.kerb + (lane + 0.5) * 2 * plan.kerb / plan.lanes
        away = x > 0  # right-hand traffic
        speed = (0.0 if rng.random() < 0.08 else float(rng.uniform(4, 11))) * (1 if away else -1)
        at = float(rng.uniform(0, 12))
        while busy and at < _FAR_Z - close - 8:
            kind = _kind_of_vehicle(rng)
            add((kind,), x + float(rng.uniform(-0.2, 0.2)), at, speed)
            at += {"car": 4.8, "bus": 12.0, "truck": 8.6}[kind] + 2.5 + float(rng.exponential(14 / busy))
    for side in (-1, 1):
        for _ in range(rng.poisson(8 * busy)):
            x = side * float(rng.uniform(plan.kerb + 0.5, plan.wall - 0.5))
            speed = 0.0 if rng.random() < 0.12 else float(rng.uniform(0.8, 1.7)) * float(rng.choice([-1, 1]))
            # more of them near than far: far ones are only a few pixels
            add(("person",), x, float((_FAR_Z - close) * rng.random() ** 1.8), speed)
        for _ in range(rng.poisson(0.9 * busy)):
            start = float((_FAR_Z - close) * rng.random() ** 1.5)
            add(("bicycle", "rider"), side * (plan.kerb - 0.5), start, side * float(rng.uniform(2.5, 5)))
        for z in np.arange(close + 4, 90, float(rng.uniform(9, 16))):
            kind = str(rng.choice(["tree", "lamp", "tree", "sign", "bin", "bush"]))
            if rng.random() < 0.75:
                _put(layout, rng, kind, side * (plan.kerb + 0.5), float(z))
