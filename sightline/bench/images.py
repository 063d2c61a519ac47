"""The frames that are measured: the synthetic street as JPEG, the same for every engine."""

from __future__ import annotations

import cv2

from model.street.dataset import validation_set

FRAMES = 8  # different ones, so that nobody profits from a cache
QUALITY = 85  # what the streaming client encodes with
SIZES_WH = {"16:9 1280x720": (1280, 720), "square 720x720": (720, 720)}


def jpegs(size_wh: tuple[int, int]) -> list[bytes]:
    """FRAMES JPEG files of `size_wh` pixels."""
    files = []
    for frame in validation_set(FRAMES, size_wh=size_wh):
        _, data = cv2.imencode(".jpg", frame.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        files.append(data.tobytes())
    return files
