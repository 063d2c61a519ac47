"""A street scene: renders its frames and tells what is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.street.backdrop import paint_backdrop
from model.street.layout import Layout, make_layout
from model.street.movers import Placed
from model.street.weather import Weather

CLASS_NAMES = ("person", "bicycle", "car", "bus", "truck", "dog")  # a class id is the index; names as in COCO
MIN_VISIBLE = 0.35
MIN_SIDE, MAX_SIDE = 64, 8192
_CLASS_ID = {name: i for i, name in enumerate(CLASS_NAMES)} | {"rider": 0}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One frame and what is in it. Boxes are xyxy pixels of the frame, within 0..W and 0..H."""

    image_bgr: npt.NDArray[np.uint8]  # [H, W, 3]
    boxes_xyxy: npt.NDArray[np.float32]  # [K, 4]
    class_ids: npt.NDArray[np.int64]  # [K], indices into CLASS_NAMES
    ignored_xyxy: npt.NDArray[np.float32]  # [M, 4] objects too hidden or too small to be asked for
    ignored_ids: npt.NDArray[np.int64]  # [M]


class StreetScene:
    """One street with its traffic. Not for several threads at once: it caches what it draws."""

    def __init__(self, seed: int, size_wh: tuple[int, int] = (1280, 720)) -> None:
        """seed: any non-negative integer. size_wh: the frame's width and height, each 64..8192 pixels.

        Raises ValueError for another seed or size.
        """
        width, height = size_wh
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise ValueError(f"a frame's sides must be {MIN_SIDE}..{MAX_SIDE} pixels, got {width}x{height}")
        if seed < 0:
            raise ValueError(f"the seed must not be negative, got {seed}")
        self.seed, self.size_wh = seed, (width, height)
        self.min_box_px = 10 * max(width, height) / 1280
        rng = np.random.default_rng(seed)
        self._layout: Layout = make_layout(rng, width, height)
        layout = self._layout
        self._backdrop = paint_backdrop(
            layout.view, layout.plan, layout.sky, layout.light, layout.rain > 0, rng
        )
        for placed in layout.baked:
            placed.sprite.paste(self._backdrop, placed.left, placed.top)
        self._weather = Weather(rng, width, height, layout.rain, layout.noise)

    def render(self, t_s: float) -> Rendered:
        """The frame at t_s seconds (any finite number) of the scene's own time."""
        if not np.isfinite(t_s):
            raise ValueError(f"the time must be finite, got {t_s}")
        frame = self._backdrop.copy()
        placed = self._layout.placed(t_s)  # far to near
        for item in placed:
            item.sprite.paste(frame, item.left, item.top)
        self._weather.apply(frame, t_s)
        return Rendered(frame, *self._truth(placed))

    def _truth(
        self, placed: list[Placed]
    ) -> tuple[
        npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]
    ]:
        boxes: list[tuple[int, int, int, int]] = []
        ids: list[int] = []
        kept: list[bool] = []
        for i, item in enumerate(placed):
            if item.kind not in _CLASS_ID:
                continue
            seen = _visible_part(placed, i, self.size_wh)
            if seen is None:
                continue
            box, share = seen
            side = min(box[2] - box[0], box[3] - box[1])
            boxes.append(box)
            ids.append(_CLASS_ID[item.kind])
            kept.append(share >= MIN_VISIBLE and side >= self.min_box_px)
        xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)
        class_ids, keep = np.asarray(ids, np.int64), np.asarray(kept, np.bool_)
        return xyxy[keep], class_ids[keep], xyxy[~keep], class_ids[~keep]


def _visible_part(
    placed: list[Placed], index: int, size_wh: tuple[int, int]
) -> tuple[tuple[int, int, int, int], float] | None:
    """The box xyxy of what can be seen of placed[index], and its share of the object; None if nothing can."""
    item = placed[index]
    x0, y0, x1, y1 = item.box
    cx0, cy0, cx1, cy1 = max(x0, 0), max(y0, 0), min(x1, size_wh[0]), min(y1, size_wh[1])
    if cx0 >= cx1 or cy0 >= cy1 or not item.sprite.area:
        return None
    covers = []
    for other in placed[index + 1 :]:
        ox0, oy0, ox1, oy1 = other.box
        ix0, iy0, ix1, iy1 = max(cx0, ox0), max(cy0, oy0), min(cx1, ox1), min(cy1, oy1)
        if ix0 < ix1 and iy0 < iy1:
            covers.append((other, ix0, iy0, ix1, iy1))
    if not covers and (x0, y0, x1, y1) == (cx0, cy0, cx1, cy1):
        return (x0, y0, x1, y1), 1.0
    seen = item.sprite.mask[cy0 - item.top : cy1 - item.top, cx0 - item.left : cx1 - item.left].copy()
    for other, ix0, iy0, ix1, iy1 in covers:
        seen[iy0 - cy0 : iy1 - cy0, ix0 - cx0 : ix1 - cx0] &= ~other.sprite.mask[
            iy0 - other.top : iy1 - other.top, ix0 - other.left : ix1 - other.left
        ]
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    if not columns.size:
        return None
    box = (cx0 + int(columns[0]), cy0 + int(rows[0]), cx0 + int(columns[-1]) + 1, cy0 + int(rows[-1]) + 1)
    return box, int(np.count_nonzero(seen)) / item.sprite.area
