"""That a peer finds what Sightline finds: who is compared by speed must do the same work."""

from __future__ import annotations

import json

import numpy as np

from client.predict import parse_response
from model.evaluate import Prediction
from model.matching import match

SURE, IOU, SHARE = 0.4, 0.7, 0.9  # of the objects with a score of SURE, SHARE must be there, at that overlap


def ours(answer: bytes, size_wh: tuple[int, int]) -> Prediction:
    """What a PredictResponse says of a frame of `size_wh` pixels."""
    found = parse_response(answer).detections()
    width, height = size_wh
    boxes_xyxy = found.boxes[:, [1, 0, 3, 2]] * np.array([width, height] * 2, np.float32)
    return Prediction(boxes_xyxy, found.scores, found.class_ids.astype(np.int64))


def theirs(answer: bytes) -> Prediction:
    """What a peer's JSON says: rows of x1, y1, x2, y2, score, class; LitServe has them in an object."""
    told = json.loads(answer)
    rows = np.array(told["detections"] if isinstance(told, dict) else told, np.float32).reshape(-1, 6)
    return Prediction(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def check(name: str, expected: Prediction, found: Prediction) -> None:
    """Raises RuntimeError where either has sure objects that the other has not."""
    for one, other in ((expected, found), (found, expected)):
        sure = np.flatnonzero(one.scores >= SURE)
        there = {i for i, _ in match(one, other, IOU)}
        if not len(expected.scores) or sum(int(i) in there for i in sure) < SHARE * len(sure):
            raise RuntimeError(
                f"{name} does not find what Sightline finds: {len(found.scores)} objects, not {len(expected.scores)}"
            )
