"""Pictures to JPEG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode_jpeg(image_bgr: NDArray[np.uint8] | None, quality: int, max_side_px: int = 0) -> bytes:
    """The JPEG file of `image_bgr`, uint8 [H, W, 3] in BGR (or [H, W] grey). Raises ValueError if it cannot be.

    A picture whose longer side is above `max_side_px` is scaled down to it, unless that is 0.
    """
    import cv2  # takes 0.1 s; who only sends encoded files does not need it

    if image_bgr is None:
        raise ValueError("the frame cannot be decoded: it came without a picture or an encoded file")
    try:
        longer = max(image_bgr.shape[:2])
        if 0 < max_side_px < longer:
            height, width = (max(1, round(side * max_side_px / longer)) for side in image_bgr.shape[:2])
            image_bgr = cv2.resize(image_bgr, (width, height)).astype(np.uint8, copy=False)
        done, encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise ValueError(f"cannot encode {image_bgr.dtype} {image_bgr.shape} as JPEG: {error.err}") from error
    if not done:
        raise ValueError(f"cannot encode {image_bgr.dtype} {image_bgr.shape} as JPEG")
    return encoded.tobytes()
