"""The picture that both annotated sinks write."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.annotate import annotate
from client.sources.images import decode
from client.types import Result


def drawn(result: Result) -> NDArray[np.uint8] | None:
    """A delivered frame, uint8 [H, W, 3] BGR, with its detections drawn in; None where it cannot be decoded."""
    assert result.detections is not None
    picture = result.frame.image_bgr
    if picture is None:
        picture = decode(result.frame.jpeg or b"", turn=False)
    return None if picture is None else annotate(picture, result.detections)
