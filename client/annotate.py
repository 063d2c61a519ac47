"""Detections drawn on a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from client.colours import class_colour
from client.types import Detections

Colour = tuple[int, int, int]  # blue, green, red, each 0..255
Rect = tuple[int, int, int, int]  # x0, y0, x1, y1

_FONT = cv2.FONT_HERSHEY_DUPLEX
_DARK: Colour = (24, 20, 20)
_LIGHT: Colour = (255, 255, 255)
# Shares of an object that a label may hide: without a thought, and at all.
LITTLE_HIDDEN, MOST_HIDDEN = 0.1, 0.5


def annotate(image_bgr: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of `image_bgr` (uint8 [H, W, 3]) with each detection's box, label, score and, if tracked, number.

    Lines and text grow with the picture. A label lies above its box where there is room, else below, beside or inside
    it: out of the way of labels of higher scores, and where it hides least of what is in the boxes. One that would
    hide most of an object is left out, and so is one for which a crowd leaves no place; but never the box. Letters
    beyond ASCII show as `?`.
    """
    canvas = image_bgr.copy()
    height, width = canvas.shape[:2]
    line = max(1, round((height + width) / 800))
    boxes = _pixel_boxes(detections, width, height)
    order = range(len(detections))
    for i in reversed(order):  # the best score last, on top
        x0, y0, x1, y1 = boxes[i].tolist()
        out = line // 2 + 1  # a dark edge outside only, for small objects are to be seen
        cv2.rectangle(canvas, (x0 - out, y0 - out), (x1 + out, y1 + out), _DARK, 1)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), class_colour(int(detections.class_ids[i])), line)
    taken: list[Rect] = []
    for i in order:
        text = f"{detections.labels[i].encode('ascii', 'replace').decode()} {detections.scores[i]:.2f}"
        if detections.track_ids is not None and detections.track_ids[i] > 0:
            text = f"#{detections.track_ids[i]} {text}"
        _draw_label(canvas, text, i, boxes, class_colour(int(detections.class_ids[i])), taken)
    return canvas


def _pixel_boxes(detections: Detections, width: int, height: int) -> NDArray[np.int64]:
    """Boxes as pixels within the picture, int64 [K, 4]: x0, y0, x1, y1; coordinates that are no numbers become 0."""
    scaled = detections.boxes.reshape(-1, 4)[:, [1, 0, 3, 2]].astype(np.float64) * (
        width,
        height,
        width,
        height,
    )
    limit = (width - 1, height - 1, width - 1, height - 1)
    pixels = np.clip(np.nan_to_num(scaled, posinf=1e6, neginf=0.0), 0, limit).round().astype(np.int64)
    return np.concatenate(
        [np.minimum(pixels[:, :2], pixels[:, 2:]), np.maximum(pixels[:, :2], pixels[:, 2:])], 1
    )


def _draw_label(
    canvas: NDArray[np.uint8], text: str, of: int, boxes: NDArray[np.int64], colour: Colour, taken: list[Rect]
) -> None:
    """A filled plate with the text of one of the boxes; `taken` are the plates so far, and gets this one."""
    height, width = canvas.shape[:2]
    scale = max(0.36, (height + width) / 2 / 2100)
    weight = 1 if scale < 0.9 else round(scale * 1.3)
    (text_w, text_h), below = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, round(text_h * 0.35))
    plate_wh = text_w + 2 * pad, text_h + below // 2 + 2 * pad
    edge = max(1, round((height + width) / 800)) // 2
    place = _place(plate_wh, boxes[of], edge, (width, height), boxes, taken)
    if place is None:
        return  # a crowd: one readable label is better than two that hide each other
    x0, y0, x1, y1 = place
    taken.append(place)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, cv2.FILLED)
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = _DARK if luma > 120 else _LIGHT
    cv2.putText(canvas, text, (x0 + pad, y0 + pad + text_h), _FONT, scale, ink, weight, cv2.LINE_AA)


def _place(
    plate_wh: tuple[int, int],
    box: NDArray[np.int64],
    edge: int,
    size_wh: tuple[int, int],
    boxes: NDArray[np.int64],
    taken: list[Rect],
) -> Rect | None:
    """Where the plate of a box goes: the first of its places that hides little, or that which hides least."""
    (plate_w, plate_h), (width, height) = plate_wh, size_wh
    x0, y0, x1, y1 = (int(v) for v in box)
    left, right = x0 - edge, x1 + edge - plate_w
    above, below = y0 - plate_h, y1 + edge + 1
    beside = x1 + edge + 1, x0 - edge - 1 - plate_w
    corners = [
        (left, above), (right, above), (left, below), (right, below), (beside[0], y0), (beside[1], y0),
        (left, y0), (left, y1 - plate_h),
    ]  # fmt: skip
    best, least = None, MOST_HIDDEN
    for x, y in corners:
        x = max(0, min(x, width - plate_w))
        place = (x, y, x + plate_w, y + plate_h)
        if not 0 <= y <= height - plate_h or any(_overlap(place, other) for other in taken):
            continue
        hidden = _hidden(boxes, place)
        if hidden <= LITTLE_HIDDEN:
            return place
        if hidden < least:
            best, least = place, hidden
    return best


def _hidden(boxes: NDArray[np.int64], plate: Rect) -> float:
    """The largest share of a box, of boxes [K, 4], that a plate hides: 0..1."""
    low, high = np.maximum(boxes[:, :2], plate[:2]), np.minimum(boxes[:, 2:], plate[2:])
    common = np.maximum(high - low + 1, 0).prod(axis=1)
    return float((common / (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)).max())


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
