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


def annotate(image_bgr: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of `image_bgr` (uint8 [H, W, 3]) with each detection's box, label, score and, if tracked, number.

    Lines and text grow with the picture. A label lies above its box where there is room, else inside it, and
    out of the way of labels of higher scores; where a crowd leaves no place it is left out, but never the
    box. Letters beyond ASCII show as `?`.
    """
    canvas = image_bgr.copy()
    height, width = canvas.shape[:2]
    line = max(1, round((height + width) / 800))
    boxes = _pixel_boxes(detections, width, height)
    order = range(len(detections))
    for i in reversed(order):  # the best score last, on top
        x0, y0, x1, y1 = boxes[i]
        cv2.rectangle(canvas, (x0, y0), (x1, y1), _DARK, line + 2, cv2.LINE_AA)
        cv2.rectangle(
            canvas, (x0, y0), (x1, y1), class_colour(int(detections.class_ids[i])), line, cv2.LINE_AA
        )
    taken: list[Rect] = []
    for i in order:
        text = f"{detections.labels[i].encode('ascii', 'replace').decode()} {detections.scores[i]:.2f}"
        if detections.track_ids is not None and detections.track_ids[i] > 0:
            text = f"#{detections.track_ids[i]} {text}"
        _draw_label(canvas, text, boxes[i], class_colour(int(detections.class_ids[i])), taken)
    return canvas


def _pixel_boxes(detections: Detections, width: int, height: int) -> list[Rect]:
    """Boxes as pixels within the picture; coordinates that are no numbers become 0."""
    scaled = detections.boxes.reshape(-1, 4).astype(np.float64) * (height, width, height, width)
    limit = (height - 1, width - 1, height - 1, width - 1)
    pixels = np.clip(np.nan_to_num(scaled, posinf=1e6, neginf=0.0), 0, limit).round().astype(int)
    return [(x0, y0, x1, y1) for y0, x0, y1, x1 in pixels.tolist()]


def _draw_label(canvas: NDArray[np.uint8], text: str, box: Rect, colour: Colour, taken: list[Rect]) -> None:
    """A filled plate with the text; `taken` are the plates so far, and gets this one."""
    height, width = canvas.shape[:2]
    scale = max(0.36, (height + width) / 2 / 2100)
    weight = 1 if scale < 0.9 else round(scale * 1.3)
    (text_w, text_h), below = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, round(text_h * 0.35))
    plate_w, plate_h = text_w + 2 * pad, text_h + below // 2 + 2 * pad
    edge = max(1, round((height + width) / 800)) // 2
    x = max(0, min(box[0] - edge, width - plate_w))
    rows = (box[1] - plate_h, box[1], box[3] - plate_h, box[3], box[1] + plate_h)
    places = [(x, y, x + plate_w, y + plate_h) for y in rows if 0 <= y <= height - plate_h]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    if not free:
        return  # a crowd: one readable label is better than two that hide each other
    x0, y0, x1, y1 = free[0]
    taken.append((x0, y0, x1, y1))
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, cv2.FILLED)
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = _DARK if luma > 120 else _LIGHT
    cv2.putText(canvas, text, (x0 + pad, y0 + pad + text_h), _FONT, scale, ink, weight, cv2.LINE_AA)


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
