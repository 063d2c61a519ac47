"""POST /v1/detect: one picture in, its detections as JSON or drawn on it out."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
from aiohttp import web
from multidict import MultiMapping

from client.predict import to_detections
from client.relay.camera import Camera
from client.relay.config import RelayConfig
from client.relay.metrics import RelayMetrics
from client.relay.scheduler import Scheduler
from client.sources.header import is_encoded, read_header
from client.tally import plain_error
from client.wire import relay_pb2 as pb

CAMERA_ID = "http"
MAX_REQUESTS = 16  # read or waiting at once; each holds its picture in memory
MAX_PIXELS = 64_000_000
MAX_JPEG_SIDE = 65_500  # libjpeg's
BODY_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 60.0
TURNED_QUALITIES = (95, 85, 70, 50)  # the first at which a picture that was turned fits
USAGE = "curl --data-binary @photo.jpg http://HOST:PORT/v1/detect"
_TYPES = {415: web.HTTPUnsupportedMediaType, 408: web.HTTPRequestTimeout, 429: web.HTTPTooManyRequests,
          502: web.HTTPBadGateway, 503: web.HTTPServiceUnavailable, 504: web.HTTPGatewayTimeout}  # fmt: skip
# What a frame's gRPC code is in HTTP. What is not here is the model server's failure: 502.
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: 400,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: 429,
    grpc.StatusCode.UNAVAILABLE.value[0]: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: 504,
}


class Photos:
    """Pictures sent by HTTP are the frames of one more camera: together they get one camera's share."""

    def __init__(self, config: RelayConfig, scheduler: Scheduler, metrics: RelayMetrics) -> None:
        self._config = config
        self._camera = Camera(config, scheduler, metrics, ())
        self._turn = asyncio.Lock()
        self._drawing = asyncio.Semaphore(1)  # decoded pictures are big
        self._answers: dict[int, asyncio.Future[pb.Result]] = {}
        self._frame_id = 0
        self._requests = 0
        self._closing = False
        self._writer = asyncio.ensure_future(self._camera.write_results(self._answered))

    async def close(self, grace_s: float) -> None:
        """Answer what is in flight if that takes no longer than `grace_s`, refuse the rest."""
        self._closing = True
        self._camera.drain()
        _, late = await asyncio.wait({self._writer}, timeout=grace_s)
        if not late:
            return
        self._writer.cancel()
        self._camera.gone(broke=False)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(pb.Result(dropped=pb.Dropped(reason="shutdown")))

    async def handle(self, request: web.Request) -> web.Response:
        """One request. Errors are web.HTTPException with a line of text."""
        self._check_open()
        annotated, timeout_s = _options(request.query, self._config.predict_timeout_s)
        if self._requests >= MAX_REQUESTS:
            raise _error(429, f"{MAX_REQUESTS} pictures are being looked at already; try again")
        self._requests += 1
        try:
            image = await self._body(request)
            image, size_wh = await self._upright(image)
            if annotated and max(size_wh) > MAX_JPEG_SIDE:
                raise web.HTTPRequestEntityTooLarge(
                    MAX_JPEG_SIDE,
                    max(size_wh),
                    text=f"{size_wh[0]}x{size_wh[1]} pixels; the limit with annotated=1 is {MAX_JPEG_SIDE} a side",
                )
            result = await self._detect(image, timeout_s)
            if annotated:
                async with self._drawing:
                    body = await asyncio.to_thread(_annotated, image, result.delivered)
                return web.Response(body=body, content_type="image/jpeg")
            return web.json_response(_as_dict(result, size_wh))
        finally:
            self._requests -= 1

    def _check_open(self) -> None:
        """Raise 503 when the relay stops."""
        if self._closing:
            raise _error(503, "the relay is shutting down")

    async def _body(self, request: web.Request) -> bytes:
        limit = self._config.max_image_bytes
        if (request.content_length or 0) > limit:
            raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=request.content_length or 0)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                image = await request.read()  # raises HTTPRequestEntityTooLarge beyond the limit
        except TimeoutError:
            raise _error(408, f"the picture did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
        except web.RequestPayloadError:
            raise _error(400, "the body is broken: it is not what its headers say, such as gzip") from None
        if not image:
            raise _error(400, f"expected a JPEG or PNG file as the body, got nothing: {USAGE}")
        if not is_encoded(image):
            raise _error(415, f"expected a JPEG or PNG file as the body, got something else: {USAGE}")
        return image

    async def _upright(self, image: bytes) -> tuple[bytes, tuple[int, int]]:
        """The picture as its Exif says to turn it, for models don't look there; its width and height."""
        header = read_header(image)
        if header is None:
            raise _error(400, "the picture is broken: its header tells no size")
        width, height = header.size_wh
        if width * height > MAX_PIXELS:
            raise web.HTTPRequestEntityTooLarge(
                MAX_PIXELS,
                width * height,
                text=f"{width}x{height} pixels; the limit is {MAX_PIXELS // 10**6} million",
            )
        if header.orientation == 1:
            return image, (width, height)
        async with self._drawing:
            turned = await asyncio.to_thread(_turned, image, self._config.max_image_bytes)
        return turned, (height, width) if header.orientation >= 5 else (width, height)

    async def _detect(self, image: bytes, timeout_s: float) -> pb.Result:
        """The delivered result."""
        try:
            async with asyncio.timeout(timeout_s) as limit:
                async with self._turn:
                    await self._camera.room()
                    self._check_open()  # nobody would write the result
                    loop = asyncio.get_running_loop()
                    left_s = (limit.when() or 0.0) - loop.time()
                    self._frame_id += 1
                    answer = self._answers[self._frame_id] = loop.create_future()
                    self._camera.offer(
                        pb.Frame(
                            camera_id=CAMERA_ID,
                            frame_id=self._frame_id,
                            max_age_ms=max(1, math.ceil(left_s * 1e3)),
                            image=image,
                            wait=True,
                        )
                    )
                result: pb.Result = await answer
        except TimeoutError:
            raise _error(504, f"no answer within {timeout_s:g} s (timeout_s)") from None
        if result.HasField("dropped"):
            if result.dropped.reason == "expired":
                raise _error(504, f"no answer within {timeout_s:g} s (timeout_s)")
            raise _error(503, "the relay is shutting down")
        if result.HasField("error"):
            raise _error(_STATUS.get(result.error.code, 502), plain_error(result.error.message))
        return result

    async def _answered(self, data: bytes) -> None:
        result = pb.Result.FromString(data)
        answer = self._answers.pop(result.frame_id)
        if not answer.done():  # its request may have gone away
            answer.set_result(result)


def _options(query: MultiMapping[str], timeout_s: float) -> tuple[bool, float]:
    """`annotated` and `timeout_s`. Raises a 400 that names what is wrong."""
    if unknown := sorted(set(query) - {"annotated", "timeout_s"}):
        raise _error(400, f"unknown parameter {unknown[0]!r}; there are annotated=1 and timeout_s=SECONDS")
    annotated = query.get("annotated", "0")
    if annotated not in ("0", "1"):
        raise _error(400, f"annotated: expected 0 or 1, got {annotated!r}")
    text = query.get("timeout_s", "")
    try:
        timeout_s = float(text) if text else timeout_s
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise _error(400, f"timeout_s: expected more than 0, up to {MAX_TIMEOUT_S:g}, got {text!r}")
    return annotated == "1", timeout_s


def _error(status: int, text: str) -> web.HTTPException:
    return _TYPES.get(status, web.HTTPBadRequest)(text=text)


def _as_dict(result: pb.Result, size_wh: tuple[int, int]) -> dict[str, Any]:
    """The answer; a detection's fields are those of the JSON Lines."""
    from client.sinks.jsonl import detection_rows  # needs OpenCV: only where a picture comes

    found, timings = result.delivered, result.timings
    return {
        "model": found.model_name,
        "version": found.model_version,
        "width": size_wh[0],
        "height": size_wh[1],
        "detections": detection_rows(
            to_detections(list(found.boxes), list(found.scores), list(found.class_ids), list(found.labels)),
            size_wh,
        ),
        "ms": {
            "queue": timings.relay_queue_us / 1e3,
            "predict": timings.predict_us / 1e3,
            "total": timings.relay_total_us / 1e3,
        },
    }


def _turned(image: bytes, most_bytes: int) -> bytes:
    """The picture as its Exif says to turn it, at the best quality that the relay's limit leaves room for."""
    from client.encode import encode_jpeg
    from client.sources.images import decode

    picture = decode(image)
    if picture is None:
        raise _error(400, "the picture is broken: it cannot be decoded")
    for quality in TURNED_QUALITIES:
        turned = encode_jpeg(picture, quality)
        if len(turned) <= most_bytes:
            return turned
    raise web.HTTPRequestEntityTooLarge(
        most_bytes,
        len(turned),
        text=f"turned as its Exif says, the picture has {len(turned)} bytes; the limit is {most_bytes}",
    )


def _annotated(image: bytes, found: pb.Detections) -> bytes:
    """The picture with boxes, as a JPEG file."""
    from client.annotate import annotate
    from client.encode import encode_jpeg
    from client.sources.images import decode

    picture = decode(image, turn=False)
    if picture is None:
        raise _error(400, "the picture is broken: it cannot be decoded")
    boxes = to_detections(list(found.boxes), list(found.scores), list(found.class_ids), list(found.labels))
    return encode_jpeg(annotate(picture, boxes), 90)
