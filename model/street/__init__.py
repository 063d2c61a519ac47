"""A synthetic street camera: moving people, bicycles, cars, buses, trucks and dogs, with their true boxes.

`StreetScene(seed, size_wh).render(t_s)` is a pure function of seed, size and time: any frame rate, any
order. A scene is seen across or along the street, by day, dusk, night or under clouds, dry or in rain,
with trees, lamps, signs and the like that hide things and are no objects themselves.

    scene = StreetScene(seed=7)
    rendered = scene.render(t_s=1.25)
    paint_stamp(rendered.image_bgr, frame_id=31, time_unix_ns=time.time_ns())

Truth: the box of an object is that of its visible pixels (without shadow and lamp glow). An object of
which less than MIN_VISIBLE can be seen, hidden or cut off by the frame, or whose box is narrower or
lower than `min_box_px` of the scene (10 px in a frame 1280 px wide), is left out of the boxes and named
in `ignored_*`: finding it is neither right nor wrong.
"""

from model.street.scene import CLASS_NAMES, MIN_VISIBLE, Rendered, StreetScene
from model.street.stamp import MIN_STAMP_WH, Stamp, paint_stamp, read_stamp, stamp_height

__all__ = [
    "CLASS_NAMES",
    "MIN_STAMP_WH",
    "MIN_VISIBLE",
    "Rendered",
    "Stamp",
    "StreetScene",
    "paint_stamp",
    "read_stamp",
    "stamp_height",
]
