"""`python -m bench.serve SERVER --runtime ...`: one peer, as its documentation would have it, tuned.

Throughput wants an instance per core with one thread each, latency one instance with all threads: `--instances`
and `--threads` say which. Ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import queue
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from bench.engines import RUNTIMES, Detect, Network

METHOD = "Detect"
SERVICE = "bench.Peer"
AsyncDetect = Callable[[bytes], Awaitable[list[list[float]]]]

_detect: Detect | None = None  # of a worker process


def concurrent(network: Network, instances: int, threads: int) -> AsyncDetect:
    """`instances` detections at once. PyTorch's many small calls would fight for the interpreter's lock: processes."""
    pool: Executor
    if network.runtime == "torch" and instances > 1:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(instances, context, _begin, (network, threads))
        work: Callable[[bytes], list[list[float]]] = _in_worker
    else:
        free: queue.SimpleQueue[Detect] = queue.SimpleQueue()
        for detect in network.detectors(instances, threads):
            free.put(detect)
        pool = ThreadPoolExecutor(instances)

        def work(jpeg: bytes) -> list[list[float]]:
            detect = free.get()
            try:
                return detect(jpeg)
            finally:
                free.put(detect)

    return lambda jpeg: asyncio.get_running_loop().run_in_executor(pool, work, jpeg)


def _begin(network: Network, threads: int) -> None:
    global _detect
    (_detect,) = network.detectors(1, threads)


def _in_worker(jpeg: bytes) -> list[list[float]]:
    assert _detect is not None
    return _detect(jpeg)


def serve_fastapi(network: Network, port: int, instances: int, threads: int) -> None:
    """FastAPI on uvicorn with uvloop and httptools."""
    import uvicorn

    from bench.fastapi_app import create

    app = create(concurrent(network, instances, threads))
    uvicorn.run(app, port=port, log_level="warning", access_log=False, loop="uvloop", http="httptools")


def serve_grpc(network: Network, port: int, instances: int, threads: int) -> None:
    """grpc.aio; the image is the message, the answer JSON."""
    import grpc

    async def run() -> None:
        detect = concurrent(network, instances, threads)

        async def answer(jpeg: bytes, _context: object) -> bytes:
            return json.dumps(await detect(jpeg)).encode()

        server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(answer)}
        )
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


def serve_litserve(network: Network, port: int, instances: int, threads: int) -> None:
    """LitServe, a worker process per instance."""
    from bench.litserve_api import serve

    serve(network, port, instances, threads)


def serve_bentoml(network: Network, port: int, instances: int, threads: int) -> None:
    """BentoML, a worker process per instance."""
    from bench.bentoml_service import serve

    serve(network, port, instances, threads)


SERVERS = {
    "fastapi": serve_fastapi,
    "grpc": serve_grpc,
    "litserve": serve_litserve,
    "bentoml": serve_bentoml,
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Serve one peer.")
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instances", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    network = Network(args.runtime, args.weights, args.onnx)
    SERVERS[args.server](network, args.port, args.instances, args.threads)


if __name__ == "__main__":
    main()
