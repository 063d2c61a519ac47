"""Results made by hand, for tests of what takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from client.types import Detections, DropReason, Frame, Result, Status

UNIX_NS = 1_769_860_800_123_456_789  # 2026-01-31T12:00:00.123456789Z
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ())


def detections(*rows: tuple[str, int, float, tuple[float, float, float, float]]) -> Detections:
    """From rows of label, class id, score and box (ymin, xmin, ymax, xmax in 0..1)."""
    if not rows:
        return NOTHING
    labels, ids, scores, boxes = zip(*rows, strict=True)
    return Detections(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.array(ids, np.int32), labels
    )


def frame(frame_id: int = 0, camera_id: str = "door", captured_s: float = 100.0, **fields: Any) -> Frame:
    """A frame; without a picture unless `image_bgr` or `jpeg` is given."""
    return Frame(camera_id, frame_id, captured_s, UNIX_NS, **fields)


def delivered(of: Frame, found: Detections = NOTHING, **fields: Any) -> Result:
    """A delivered result, of yolov8 version 1 unless told otherwise."""
    values: dict[str, Any] = {"model_name": "yolov8", "model_version": 1, "age_s": 0.05} | fields
    return Result(of, Status.DELIVERED, detections=found, **values)


def dropped(of: Frame, reason: DropReason = DropReason.EXPIRED) -> Result:
    """A dropped one."""
    return Result(of, Status.DROPPED, 0.3, reason=reason)


def errored(of: Frame, error: str = "INVALID_ARGUMENT: image is neither JPEG nor PNG") -> Result:
    """An errored one."""
    return Result(of, Status.ERRORED, 0.01, error=error)
