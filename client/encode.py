"""Pictures to JPEG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode_jpeg(image_bgr: NDArray[np.uint8] | None, quality: int) -> bytes:
    """The JPEG file of `image_bgr`, uint8 [H, W, 3] in BGR (or [H, W] grey). Raises ValueError if it cannot be."""
    import cv2  # takes 0.1 s; who only sends encoded files does not need it

    if image_bgr is None:
        raise ValueError("expected a frame with a picture or an encoded file, got neither")
    try:
        done, encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise ValueError(f"cannot encode {image_bgr.dtype} {image_bgr.shape} as JPEG: {error.err}") from error
    if not done:
        raise ValueError(f"cannot encode {image_bgr.dtype} {image_bgr.shape} as JPEG")
    return encoded.tobytes()
