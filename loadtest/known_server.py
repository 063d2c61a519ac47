"""A server whose latencies are known: what the load generator says of it can be checked.

Predict takes a time from a list with a tail, as real services do, over gRPC and over REST. Detect answers after BASE_S,
but every PERIOD_S it slows down until a frame takes STALL_S longer, and then catches up: whoever waits for answers
before he sends more meets less of it, whoever sends all the time meets all. By how much it was late itself, as its own
clock says, is written into a file when the server is told to stop: that is the machine's doing, and nobody's fault who
asks it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path

import grpc
import numpy as np

from client.null_server import null_response
from client.predict import PREDICT
from client.relayed import DETECT, HELLO
from client.wire import relay_pb2 as pb

BASE_S, STALL_S = 0.4, 0.15
# What is measured, and the stalls in it: no multiple of a frame's interval apart, so that frames meet each stall at
# another moment of it.
SPAN_S, STALLS = 16, 7
PERIOD_S = SPAN_S / STALLS
# Predict's quantiles lie on straight lines between these (share of the calls, seconds).
QUANTILES = ((0.0, 0.4), (0.95, 0.6), (1.0, 0.9))
KINDS = 1280  # half of what the self-check asks over gRPC, and all over REST: each comes out as often as the others
REST_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{"predictions": []}'


def delays_s() -> list[float]:
    """KINDS times for Predict, in random order."""
    shares, times_s = zip(*QUANTILES, strict=True)
    found: list[float] = np.interp((np.arange(KINDS) + 0.5) / KINDS, shares, times_s).tolist()
    random.Random(0).shuffle(found)
    return found


def stall_s(asked_unix_s: float) -> float:
    """How long a frame of that moment takes in Detect.

    It has no jumps, so that a frame that arrives a little later than it was due takes only a little more or less time;
    and what was held up comes out at twice the rate, not all at once, which would take a busy machine a while.
    """
    return BASE_S + max(0.0, STALL_S - abs(asked_unix_s % PERIOD_S - 2 * STALL_S) / 2)


class Known:
    """The services. `late_s`: how much later than it should each answer was given away."""

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self._calls, self._rest_calls = cycle(delays_s()), cycle(delays_s())
        self._answer = null_response()

    async def predict(self, _request: bytes, _context: object) -> bytes:
        """One call."""
        await self._wait(next(self._calls))
        return self._answer

    async def rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a REST client: just enough HTTP for one POST after another."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
                await self._wait(next(self._rest_calls))
                writer.write(REST_ANSWER)
        writer.close()

    async def _wait(self, seconds: float) -> None:
        due_s = time.monotonic() + seconds
        await asyncio.sleep(seconds)
        self.late_s.append(time.monotonic() - due_s)

    async def detect(self, frames: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        """One camera's stream; results in the order of frames."""
        await context.send_initial_metadata((HELLO,))
        taken: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        writer = asyncio.ensure_future(self._write(taken, context))
        async for data in frames:
            taken.put_nowait((time.time(), data))
        taken.put_nowait(None)
        await writer

    async def _write(
        self, taken: asyncio.Queue[tuple[float, bytes] | None], context: grpc.aio.ServicerContext
    ) -> None:
        while (item := await taken.get()) is not None:
            arrived_s, data = item
            due_s = arrived_s + stall_s(arrived_s)
            frame = pb.Frame.FromString(data)
            result = pb.Result(camera_id=frame.camera_id, frame_id=frame.frame_id)
            result.delivered.model_version = 1
            await asyncio.sleep(max(0.0, due_s - time.time()))
            self.late_s.append(time.time() - due_s)
            await context.write(result.SerializeToString())


async def serve() -> list[float]:
    """Serve on loopback until SIGTERM; prints gRPC's port and REST's. Returns Known.late_s."""
    known, stop = Known(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server()
    handlers = {
        PREDICT: grpc.unary_unary_rpc_method_handler(known.predict),
        DETECT: grpc.stream_stream_rpc_method_handler(known.detect),
    }
    for path, handler in handlers.items():
        _, service, name = path.split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    rest = await asyncio.start_server(known.rest, "127.0.0.1", 0)
    print(port, rest.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    rest.close()
    await server.stop(0)
    return known.late_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.write_text(json.dumps(asyncio.run(serve())))
