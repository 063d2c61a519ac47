"""A model server that does nothing: it answers every Predict at once with the same detections.

For measuring what a client or a relay costs. `python -m client.null_server` prints its port and runs until killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import grpc

from client.predict import GET_MODEL_STATUS, PREDICT
from client.wire import tfserving_pb2 as tfs
from model.contract import DEFAULT_MAX_DET, MODEL_NAME, OUTPUT_BOXES, OUTPUT_CLASS_TEXT, OUTPUT_NUM

DETECTIONS = 8  # as many as an ordinary street picture has


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


async def serve(port: int, delay_s: float, workers: int = 0, version: int = 1) -> None:
    """Serve on loopback until cancelled; prints the port. `delay_s`: how long each answer takes (not CPU time).

    `workers`: so many are at work at once, the others wait their turn, and as in TF Serving all of them are done
    however long ago their caller gave up; 0: no limit. `version`: the model's, as the answers tell it.
    """
    answer = null_response(version=version)
    status = tfs.GetModelStatusResponse()
    status.model_version_status.add(version=version, state=tfs.ModelVersionStatus.AVAILABLE)
    available = status.SerializeToString()

    free = asyncio.Semaphore(workers) if workers else contextlib.nullcontext()

    async def work() -> None:
        async with free:
            await asyncio.sleep(delay_s)

    async def predict(_request: bytes, _context: object) -> bytes:
        if delay_s:
            await asyncio.shield(work())
        return answer

    async def model_status(_request: bytes, _context: object) -> bytes:
        return available  # type: ignore[no-any-return]

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    for path, method in ((PREDICT, predict), (GET_MODEL_STATUS, model_status)):
        _, service, name = path.split("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--model-version", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.delay_ms / 1e3, arguments.workers, arguments.model_version))
