"""What a worker runs: our engine by itself, a peer, or our stack's services. Picklable by name for spawn."""

from __future__ import annotations

import functools
import queue
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.security import Security
from model import contract
from sightline.bench.worker import Detect


@dataclass(frozen=True)
class Ours:
    """The SavedModel version in `folder`, in process, as the embedded server runs it: threads by load."""

    folder: Path

    def __call__(self, callers: int) -> list[Detect]:
        import numpy as np

        import model.quiet  # noqa: F401  # TensorFlow's first words would stand in the middle of the table
        from serving.sessions import load

        engine = load(str(self.folder))

        def detect(jpeg: bytes) -> object:
            image = np.array([jpeg], object)
            return engine.run(contract.SIGNATURE, {contract.INPUT_IMAGE_BYTES: image})

        return [detect] * callers


@dataclass(frozen=True)
class Signature:
    """The signature of the SavedModel version in `folder`, as `tf.saved_model.load` gives it to a Python program."""

    folder: Path

    def __call__(self, callers: int) -> list[Detect]:
        import model.quiet  # noqa: F401, I001  # as above
        import tensorflow as tf

        loaded = tf.saved_model.load(str(self.folder))
        signature = loaded.signatures[contract.SIGNATURE]

        def detect(jpeg: bytes) -> object:
            answer = signature(**{contract.INPUT_IMAGE_BYTES: tf.constant([jpeg])})
            return {name: tensor.numpy() for name, tensor in answer.items()}

        return [detect] * callers


@dataclass(frozen=True)
class Peers:
    """`runtime`: "onnxruntime", "openvino-f32" or "openvino-bf16"; `threads`: of each caller's network."""

    runtime: str
    onnx: Path
    threads: int

    def __call__(self, callers: int) -> list[Detect]:
        from sightline.bench import peers

        runtime, _, precision = self.runtime.partition("-")
        if runtime == "onnxruntime":
            compile_shape = peers.onnxruntime_compiler(self.onnx, self.threads)
        else:
            compile_shape = peers.openvino_compiler(self.onnx, callers, self.threads, precision)
        return [peers.Peer(compile_shape).detect for _ in range(callers)]


@dataclass(frozen=True)
class Server:
    """Predict over gRPC at `target` (host:port), by a caller that costs next to nothing."""

    target: str

    def __call__(self, callers: int) -> list[Detect]:
        from client.bare import Unary
        from client.http2 import message
        from client.predict import PREDICT, request_bytes

        @functools.cache  # the few images come again and again
        def request(jpeg: bytes) -> bytes:
            return message(request_bytes(contract.MODEL_NAME, contract.SIGNATURE, jpeg))

        def caller() -> Detect:
            call = Unary(self.target, PREDICT).call
            return lambda jpeg: call(request(jpeg))

        return [caller() for _ in range(callers)]


@dataclass(frozen=True)
class ServerByPython:
    """Predict over gRPC at `target` (host:port), by Python's client."""

    target: str

    def __call__(self, callers: int) -> list[Detect]:
        import grpc

        from client.channel import CHANNEL_OPTIONS
        from client.predict import PREDICT, parse_response, request_bytes

        def caller() -> Detect:
            predict = grpc.insecure_channel(self.target, CHANNEL_OPTIONS).unary_unary(PREDICT)

            def detect(jpeg: bytes) -> object:
                request = request_bytes(contract.MODEL_NAME, contract.SIGNATURE, jpeg)
                return parse_response(predict(request, timeout=30)).detections()

            return detect

        return [caller() for _ in range(callers)]


@dataclass(frozen=True)
class Relay:
    """One stream per caller at `target` (host:port), one frame at a time; through a gateway with its authority's
    file and each camera's token. The callers cost next to nothing."""

    target: str
    ca: Path | None = None
    tokens: Mapping[str, str] | None = None

    def __call__(self, callers: int) -> list[Detect]:
        from client.bare import Stream

        return [Stream(self.target, camera, self.security()).detect for camera in cameras(callers)]

    def security(self) -> Security:
        """Of its cameras."""
        return Security(self.ca, self.tokens.__getitem__ if self.tokens else None)


@dataclass(frozen=True)
class RelayByPython:
    """The same by Python's gRPC client."""

    way: Relay

    def __call__(self, callers: int) -> list[Detect]:
        from client.channel import CHANNEL_OPTIONS
        from client.relayed import DETECT
        from client.wire import relay_pb2 as pb

        security = self.way.security()

        def caller(camera: str) -> Detect:
            channel = security.channel(self.way.target, CHANNEL_OPTIONS)
            frame, frames = pb.Frame(camera_id=camera, wait=True), queue.SimpleQueue[bytes]()
            detect_all = channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
            results = detect_all(iter(frames.get, None), metadata=security.metadata(camera))

            def detect(jpeg: bytes) -> object:
                frame.frame_id, frame.image = frame.frame_id + 1, jpeg
                frames.put(frame.SerializeToString())
                result: pb.Result = next(results)
                if not result.HasField("delivered"):
                    raise RuntimeError(f"expected detections, got {result}")
                return result

            return detect

        return [caller(camera) for camera in cameras(callers)]


def cameras(callers: int) -> list[str]:
    """The camera ids of so many callers."""
    return [f"bench-{i}" for i in range(callers)]
