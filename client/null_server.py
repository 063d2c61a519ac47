"""A model server that does nothing: it answers every Predict at once with the same detections.

For measuring what a client or a relay costs. `python -m client.null_server` prints its port and runs until killed.
It speaks just enough HTTP/2 itself: gRPC's own server takes several times as long for a call, and on a machine of two
cores a relay could not be measured beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from client import http2
from client.wire import tfserving_pb2 as tfs
from model.contract import (
    DEFAULT_MAX_DET,
    INPUT_IMAGE_BYTES,
    MODEL_NAME,
    OUTPUT_BOXES,
    OUTPUT_CLASS_TEXT,
    OUTPUT_NUM,
)

DETECTIONS = 8  # as many as an ordinary street picture has

# `:status: 200`, `content-type: application/grpc`; and `grpc-status: 0`, as HPACK has them without its table.
_OK = b"\x88\x0f\x10\x10application/grpc"
_GRPC_STATUS = b"\x00\x0bgrpc-status\x010"
_INPUT = INPUT_IMAGE_BYTES.encode()


def null_response(detections: int = DETECTIONS, rows: int = DEFAULT_MAX_DET, version: int = 1) -> bytes:
    """A PredictResponse of the size that a real model's has: `rows` rows of which `detections` are real."""
    response = tfs.PredictResponse()
    response.model_spec.name = MODEL_NAME
    response.model_spec.version.value = version
    shapes = {
        OUTPUT_BOXES: [1, rows, 4],
        "detection_scores": [1, rows],
        "detection_classes": [1, rows],
        OUTPUT_NUM: [1],
    }
    for name, shape in shapes.items():
        tensor = response.outputs[name]
        tensor.dtype = tfs.DT_FLOAT
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        width = 4 if name == OUTPUT_BOXES else 1
        used = [0.5] * (detections * width)
        tensor.float_val.extend(
            [float(detections)] if name == OUTPUT_NUM else used + [0.0] * (rows * width - len(used))
        )
    text = response.outputs[OUTPUT_CLASS_TEXT]
    text.dtype = tfs.DT_STRING
    text.string_val.extend([b"person"] * detections + [b""] * (rows - detections))
    data: bytes = response.SerializeToString()
    return data


def _message(data: bytes) -> bytes:
    """A message as gRPC frames it; raises ValueError when it is too long for one of HTTP/2's frames."""
    if len(data) + 5 > http2.FIRST_MAX_FRAME:
        raise ValueError(f"expected an answer that fits one HTTP/2 frame, got {len(data)} bytes")
    return http2.message(data)


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection, of which only what gRPC's clients and Envoy need is here.

    Which call a stream is can be told by its message, so that no header has to be unpacked: only Predict's has an
    input. Windows towards us are as large as can be; an answer is smaller than the stream's window towards the caller,
    which is 64 KB or more, so that the connection's is the only one to heed.
    """

    def __init__(self, predict: bytes, status: bytes, work: Callable[[], Awaitable[None]] | None) -> None:
        self._answers, self._work = {True: predict, False: status}, work
        self._preface: bytes | None = b""  # what there is of the caller's; None: it is read
        self._frames = http2.Frames()
        self._predicts: dict[int, bool] = {}  # by stream that is being read
        self._read = 0  # bytes by which the connection's window towards us has shrunk
        self._window = http2.FIRST_WINDOW  # of the connection, towards the caller
        self._waiting: deque[tuple[int, bytes]] = deque()  # answers that wait for it
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say at once that there is no need to wait for windows."""
        self._transport = cast(asyncio.Transport, transport)
        most = http2.settings({http2.MAX_STREAMS: http2.MAX_WINDOW, http2.INITIAL_WINDOW: http2.MAX_WINDOW})
        self._transport.write(most + http2.window(0, http2.MAX_WINDOW - http2.FIRST_WINDOW))

    def data_received(self, data: bytes) -> None:
        """Take in whole frames."""
        if self._preface is not None:
            data = self._preface + data
            if len(data) < len(http2.PREFACE):
                self._preface = data
                return
            self._preface, data = None, data[len(http2.PREFACE) :]
        for frame in self._frames.of(data):
            self._take_in(*frame)

    def _take_in(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == http2.DATA:
            self._read += len(payload)
            self._predicts[stream] = self._predicts.get(stream, False) or _INPUT in payload
            if flags & http2.END_STREAM:
                self._asked(stream, predict=self._predicts.pop(stream))
            if self._read > 2**30:
                self._transport.write(http2.window(0, self._read))
                self._read = 0
        elif kind == http2.RESET:
            self._predicts.pop(stream, None)
        elif kind == http2.WINDOW and not stream:
            self._window += int.from_bytes(payload)
            self._write()
        elif kind in (http2.SETTINGS, http2.PING) and not flags & http2.ACK:
            self._transport.write(http2.frame(kind, http2.ACK, 0, payload if kind == http2.PING else b""))

    def _asked(self, stream: int, *, predict: bool) -> None:
        if predict and self._work is not None:
            task = asyncio.ensure_future(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._answer(stream, self._answers[True]))
        else:
            self._answer(stream, self._answers[predict])

    def _answer(self, stream: int, message: bytes) -> None:
        self._waiting.append((stream, message))
        self._write()

    def _write(self) -> None:
        while self._waiting and self._window >= len(self._waiting[0][1]):
            stream, message = self._waiting.popleft()
            self._window -= len(message)
            headers = http2.frame(http2.HEADERS, http2.END_HEADERS, stream, _OK)
            last = http2.END_HEADERS | http2.END_STREAM
            trailers = http2.frame(http2.HEADERS, last, stream, _GRPC_STATUS)
            self._transport.write(headers + http2.frame(http2.DATA, 0, stream, message) + trailers)


async def serve(port: int, delay_s: float, workers: int = 0, version: int = 1) -> None:
    """Serve on loopback until cancelled; prints the port. `delay_s`: how long each answer takes (not CPU time).

    `workers`: so many are at work at once, the others wait their turn, and as in TF Serving all of them are done
    however long ago their caller gave up; 0: no limit. `version`: the model's, as the answers tell it.
    """
    status = tfs.GetModelStatusResponse()
    status.model_version_status.add(version=version, state=tfs.ModelVersionStatus.AVAILABLE)
    predict, available = _message(null_response(version=version)), _message(status.SerializeToString())
    free = asyncio.Semaphore(workers) if workers else contextlib.nullcontext()

    async def work() -> None:
        async with free:
            await asyncio.sleep(delay_s)

    def connection() -> _Connection:
        return _Connection(predict, available, work if delay_s else None)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--model-version", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.delay_ms / 1e3, arguments.workers, arguments.model_version))
