"""Which detections of two sets are the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # at run time this module needs numpy only: the relay compares models with it
    from model.evaluate import Prediction


def match(expected: Prediction, found: Prediction, iou: float) -> list[tuple[int, int]]:
    """Pairs (i, j) of the same object, of one class, at an IoU of `iou` or more: each i, by falling score, takes
    the free j that overlaps it most."""
    overlap = iou_matrix(expected.boxes_xyxy, found.boxes_xyxy)
    overlap[expected.class_ids[:, None] != found.class_ids[None, :]] = 0
    pairs = []
    for i in np.argsort(-expected.scores, kind="stable"):
        if overlap.shape[1] and overlap[i].max() >= iou:
            j = int(overlap[i].argmax())
            overlap[:, j] = 0
            pairs.append((int(i), j))
    return pairs


def iou_matrix(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes a [K, 4] and b [M, 4], both xyxy -> [K, M]; 0 for boxes without area."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=-1)
    union = np.prod(a[:, 2:] - a[:, :2], axis=-1)[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=-1) - shared
    ratio: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio
