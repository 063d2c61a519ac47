"""A server that does nothing, for measuring what the mesh costs: Predict answers at once, Detect answers each frame.

`python -m mesh.bench_server` prints its port and runs until killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

ANSWER = b"r" * 400  # about the size of a result with eight boxes


async def _predict(_request: bytes, _context: object) -> bytes:
    return ANSWER


async def _detect(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield ANSWER


async def serve() -> None:
    """Serve on a free loopback port until cancelled."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    methods = {
        "tensorflow.serving.PredictionService": {"Predict": grpc.unary_unary_rpc_method_handler(_predict)}
    }
    methods["sightline.v1.Relay"] = {"Detect": grpc.stream_stream_rpc_method_handler(_detect)}
    for service, handlers in methods.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
