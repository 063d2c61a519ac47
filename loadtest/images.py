"""The pictures that users send: the first of a source, encoded before the load begins."""

from __future__ import annotations

from client.encode import encode_jpeg
from client.errors import SourceError
from client.sources import SourceOptions, open_source
from client.stream_config import StreamConfig

IMAGES = 16  # different ones: nobody profits from a cache, and they are soon made


def load_images(spec: str) -> list[bytes]:
    """Up to IMAGES encoded pictures of a source, as `sightline detect` takes it. Raises SourceError, ValueError."""
    source = open_source(spec, SourceOptions(every_frame=True))
    images: list[bytes] = []
    try:
        for frame in source.frames():
            images.append(frame.jpeg or encode_jpeg(frame.image_bgr, StreamConfig().jpeg_quality))
            if len(images) == IMAGES:
                break
    finally:
        source.close()
    if not images:
        raise SourceError(f"{spec}: no pictures in it")
    return images
