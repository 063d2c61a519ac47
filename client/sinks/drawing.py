"""The picture that both annotated sinks write, and the name of its file."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from client.annotate import annotate
from client.sinks.base import Lost
from client.sources.images import decode
from client.types import Result


def drawn(result: Result) -> NDArray[np.uint8]:
    """A delivered frame, uint8 [H, W, 3] BGR, with its detections drawn in.

    Raises:
        Lost: it cannot be decoded.
    """
    assert result.detections is not None
    picture = result.frame.image_bgr
    if picture is None:
        picture = decode(result.frame.jpeg or b"", turn=False)
    if picture is None:
        raise Lost(f"cannot decode {result.frame.name or f'frame {result.frame.frame_id}'}")
    return annotate(picture, result.detections)


def file_stem(camera_id: str) -> str:
    """A camera's name as a file's, which lies in the folder that it is put in: `hall%2F1` of `hall/1`.

    No two cameras have one, so `%` is written as `%25`.
    """
    return re.sub(r"[%/\\\0]", lambda match: f"%{ord(match[0]):02X}", camera_id)
