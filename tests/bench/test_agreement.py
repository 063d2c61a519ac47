"""Whether a peer finds what Sightline finds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import agreement
from client.wire import tfserving_pb2 as tfs
from model import contract

ROWS = [[64.0, 36.0, 128.0, 72.0, 0.9, 2.0], [600.0, 300.0, 900.0, 700.0, 0.6, 0.0]]


def answer() -> bytes:
    """A PredictResponse with the objects of ROWS in a frame of 1280x720."""
    response = tfs.PredictResponse()
    values = {
        contract.OUTPUT_NUM: [2.0],
        contract.OUTPUT_SCORES: [0.9, 0.6],
        contract.OUTPUT_CLASSES: [2.0, 0.0],
        contract.OUTPUT_BOXES: [
            side for x1, y1, x2, y2, *_ in ROWS for side in (y1 / 720, x1 / 1280, y2 / 720, x2 / 1280)
        ],
    }
    for name, floats in values.items():
        tensor = response.outputs[name]
        tensor.dtype = tfs.DT_FLOAT
        tensor.float_val.extend(floats)
        for size in (1, 2, 4) if name == contract.OUTPUT_BOXES else (1,):
            tensor.tensor_shape.dim.add().size = size
    data: bytes = response.SerializeToString()
    return data


def test_the_same_objects_agree_however_they_are_told() -> None:
    ours = agreement.ours(answer(), (1280, 720))
    np.testing.assert_allclose(ours.boxes_xyxy, [row[:4] for row in ROWS], rtol=1e-5)
    for told in (ROWS, {"detections": ROWS}, [[x + 3 for x in row[:4]] + row[4:] for row in ROWS]):
        agreement.check("peer", ours, agreement.theirs(json.dumps(told).encode()))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ROWS[:1],
        [[*row[:5], 5.0] for row in ROWS],  # of another class
        [[x + 60 for x in row[:4]] + row[4:] for row in ROWS],  # elsewhere
        [*ROWS, [1000.0, 100.0, 1100.0, 200.0, 0.8, 1.0]],  # one too many
    ],
)
def test_others_do_not(rows: list[list[float]]) -> None:
    ours = agreement.ours(answer(), (1280, 720))
    with pytest.raises(
        RuntimeError, match=f"peer does not find what Sightline finds: {len(rows)} objects, not 2"
    ):
        agreement.check("peer", ours, agreement.theirs(json.dumps(rows).encode()))
