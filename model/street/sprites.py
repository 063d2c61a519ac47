"""One moving object of the synthetic street as a sprite."""

from __future__ import annotations

from model.street import bicycles, people, vehicle_ends, vehicles
from model.street.look import Look
from model.street.pen import Light, Pen, Sprite


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
        (people.person_side if view == "side" else people.person_front)(pen, look, phase, view == "rear")
    elif kind == "rider":
        (people.rider_side if view == "side" else people.rider_front)(pen, look, phase, view == "rear")
    elif kind == "bicycle":
        (bicycles.bicycle_side if view == "side" else bicycles.bicycle_front)(pen, look, phase)
    elif kind == "dog":
        bicycles.dog(pen, look, phase)
    elif view == "side":
        {"car": vehicles.car_side, "bus": vehicles.bus_side, "truck": vehicles.truck_side}[kind](
            pen, look, light
        )
    else:
        vehicle_ends.vehicle_end(pen, kind, look, light, view == "rear")
    return pen.done()
