"""Objects followed from frame to frame, by ByteTrack. Needs the extra `track`."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from client.types import Detections, Result

CANVAS_PX = 1000.0  # relative boxes are tracked as if the picture had this many pixels each way
_BUILDING = threading.Lock()  # catch_warnings is one for all threads


class Tracker:
    """Numbers the objects of one camera: `apply` its results in the order in which they come.

    `fps`: the rate of its results; an object that was not seen for a second gets a new number. Classes are not
    told apart, so that an object whose class flickers keeps its number. What moves by more than its own width
    from one frame to the next is not followed: narrow, fast things need a high rate.

    Y. Zhang et al., ByteTrack, ECCV 2022, as in `supervision`.
    """

    def __init__(self, fps: float) -> None:
        with _BUILDING, warnings.catch_warnings():
            # It moves to `trackers`, which needs an OpenCV with windows; see the extra in pyproject.toml.
            warnings.simplefilter("ignore", FutureWarning)
            self._tracker = sv.ByteTrack(frame_rate=fps)

    def apply(self, result: Result) -> Result:
        """The result with `Detections.track_ids`; one that was not delivered comes back as it is."""
        found = result.detections
        if found is None:
            return result
        xyxy = on_canvas(found)
        tracked = self._tracker.update_with_detections(
            sv.Detections(xyxy, confidence=found.scores, data={"row": np.arange(len(found))})
        )
        track_ids = np.full(len(found), -1, np.int64)
        if tracked.tracker_id is not None and len(tracked):
            track_ids[tracked.data["row"]] = tracked.tracker_id
        return replace(result, detections=replace(found, track_ids=track_ids))


def on_canvas(found: Detections) -> NDArray[np.float32]:
    """The boxes as float32 [K, 4]: x0, y0, x1, y1 in 0..CANVAS_PX; what is no number is 0."""
    boxes = np.clip(np.nan_to_num(found.boxes.reshape(-1, 4)[:, [1, 0, 3, 2]]), 0.0, 1.0)
    return np.asarray(boxes * CANVAS_PX, np.float32)
