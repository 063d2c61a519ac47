"""The synthetic street's true objects, each with an identity of its own, as detections."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from client.types import Detections, Frame, Result
from model.street import CLASS_NAMES, StreetScene
from tests.client.results import UNIX_NS, delivered

SIZE_WH = (640, 360)


def truth(seed: int, fps: float, frames: int, miss: float = 0.0) -> Iterator[tuple[Result, list[int]]]:
    """Delivered results with the true boxes of each frame, and whose they are: an object's number.

    A share `miss` of the boxes, drawn by chance, is not found.
    """
    scene, chance = StreetScene(seed, SIZE_WH), np.random.default_rng(seed)
    scale = np.array([SIZE_WH[0], SIZE_WH[1]] * 2, np.float32)
    for number in range(frames):
        rendered = scene.render(number / fps)
        found = chance.random(len(rendered.class_ids)) >= miss
        boxes = (rendered.boxes_xyxy / scale)[found]
        ids = rendered.class_ids[found]
        detections = Detections(
            np.ascontiguousarray(boxes[:, [1, 0, 3, 2]]), np.full(len(ids), 0.9, np.float32),
            ids.astype(np.int32), tuple(CLASS_NAMES[i] for i in ids),
        )  # fmt: skip
        moment_ns = round(number / fps * 1e9)
        frame = Frame("street", number, number / fps, UNIX_NS + moment_ns)
        yield delivered(frame, detections), identities(scene, number / fps, rendered.boxes_xyxy[found])


def identities(scene: StreetScene, t_s: float, boxes_xyxy: np.ndarray) -> list[int]:
    """Which moving thing of the scene each box shows: the one whose whole box it fills best."""
    layout = scene._layout
    wholes = [
        (10 * number + part, np.array(placed.box, np.float32))
        for number, mover in enumerate(layout.movers)
        for part, placed in enumerate(mover.placed(t_s, layout.view, layout.light, layout.cache)[1])
    ]
    return [max(wholes, key=lambda whole: _iou(box, whole[1]))[0] for box in boxes_xyxy]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - w * h
    return float(w * h / union)
