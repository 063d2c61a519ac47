"""What can be wrong with a frame before anybody looks into its image, in words for its camera; "" if nothing is."""

from __future__ import annotations

MAX_CAMERA_ID_BYTES = 256


def wrong_subject(camera_id: str, subject: str) -> str:
    """A frame's camera id, beside the only one that its stream's token allows; subject "": it came without one."""
    if not subject or camera_id == subject:
        return ""
    return f"camera_id: the token is for {subject!r}, got a frame of {camera_id!r}"


def wrong_id(camera_id: str, own: str) -> str:
    """A frame's camera id, beside that of its stream's frames before; own "": there were none."""
    size = len(camera_id.encode())
    if not 0 < size <= MAX_CAMERA_ID_BYTES:
        return f"camera_id: expected 1 to {MAX_CAMERA_ID_BYTES} bytes, got {size}"
    if own and camera_id != own:
        return f"camera_id: this stream is {own!r}, got {camera_id!r}; open one stream per camera"
    return ""


def wrong_image(image: bytes, limit: int) -> str:
    """An image's length in bytes."""
    if not image:
        return "image: expected a JPEG or PNG file, got nothing"
    if len(image) > limit:
        return f"image: {len(image)} bytes; the relay takes up to {limit} (--max-image-bytes)"
    return ""
