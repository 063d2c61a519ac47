"""The camera of a synthetic street, and where the street's parts lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """The camera: what is z metres away and x metres right of the axis lands where. Pixels of the frame."""

    width: int
    height: int
    horizon: float  # y of the horizon
    focal: float  # pixels
    tall: float  # the camera's height above the street in metres
    along: bool  # looks along the street; else across it
    left: float = 0.0  # the axis' offset from the frame's middle in pixels

    def scale(self, z: float) -> float:
        """Pixels per metre at distance z."""
        return self.focal / z

    def ground(self, x: float, z: float) -> tuple[float, float]:
        """The pixel of a point on the street."""
        k = self.focal / z
        return self.width / 2 + self.left + x * k, self.horizon + self.tall * k


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the street's parts lie, in metres: distances z if seen across, offsets x if seen along."""

    wall: float  # the far building line (across); half the distance between the building lines (along)
    kerb: float  # far kerb; half the road's width
    lanes: int
    lane_m: float
    near: float  # near kerb (across only)
