"""A REST request's body: bounded, as it came and gunzipped."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from serving.errors import Code, ServingError, invalid

MAX_BODY_BYTES = (1 << 31) - 1
MAX_GUNZIPPED_BYTES = 100 << 20
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def read_body(receive: Receive) -> bytes:
    """The request's body; raises ServingError when it is too large or cut short."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServingError(Code.CANCELLED, "The client closed the connection.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ServingError(Code.RESOURCE_EXHAUSTED, f"The request is larger than {MAX_BODY_BYTES} bytes.")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def gunzip(body: bytes) -> bytes:
    """The body decompressed, 100 MiB at most; raises ServingError."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        data = unzip.decompress(body, MAX_GUNZIPPED_BYTES)
    except zlib.error:
        raise invalid("The request says Content-Encoding: gzip, but its body is not gzip.") from None
    if unzip.unconsumed_tail or not unzip.eof:
        raise invalid(
            f"The gzip body is cut short, or larger than {MAX_GUNZIPPED_BYTES} bytes when decompressed."
        )
    return data
