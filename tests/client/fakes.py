"""Other ends for the client's tests: a model server, a relay in a thread or a process, sources."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from client.predict import GET_MODEL_STATUS, PREDICT
from client.relay.config import RelayConfig
from client.relay.main import Relay
from client.relayed import DETECT, HELLO
from client.types import Frame
from client.wire import relay_pb2 as pb
from client.wire import tfserving_pb2 as tfs
from model.child import bound

MAX_DET = 10


def image_of(number: int, size: int = 1000) -> bytes:
    """A stand-in for a JPEG that carries a number; the fake server answers it as the first score's class id."""
    return (b"\xff\xd8" + number.to_bytes(8, "big")).ljust(size, b"x")


@dataclass
class FakeModelServer:
    """Speaks the part of TF Serving's protocol that clients need. Its behaviour may be changed while it runs.

    It detects K = number % 4 objects, all of class id `number`; images without a JPEG's first bytes are refused.
    """

    latency_s: float = 0.0
    threads: int = 8
    version: int = 1
    model_name: str = "yolov8"
    available: bool = True
    busy_status: bool = False  # GetModelStatus is refused as a full server does
    as_content: bool = False
    error: tuple[grpc.StatusCode, str] | None = None
    respond: Callable[[int], bytes] | None = None
    timing: str = ""  # what it says of its times
    port: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)  # each Predict's metadata
    timeouts_s: list[float | None] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    def start(self) -> Self:
        """Listen; after `kill` on the same port as before."""
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(self.threads), options=[("grpc.so_reuseport", 0)])
        predict = grpc.unary_unary_rpc_method_handler(self._predict)
        status = grpc.unary_unary_rpc_method_handler(self._status)
        for path, handler in ((PREDICT, predict), (GET_MODEL_STATUS, status)):
            _, service, method = path.split("/")
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {method: handler}),)
            )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return self

    def kill(self) -> None:
        """Gone at once, with everything in flight."""
        self._server.stop(0).wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _predict(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        request = tfs.PredictRequest.FromString(data)
        with self._lock:
            self.requests.append(dict(context.invocation_metadata()))
            self.timeouts_s.append(context.time_remaining())
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        try:
            time.sleep(self.latency_s)
        finally:
            with self._lock:
                self.busy -= 1
        if self.error is not None:
            context.abort(*self.error)
        if request.model_spec.name != self.model_name:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Latest({request.model_spec.name})",
            )
        if self.timing:
            context.set_trailing_metadata((("server-timing", self.timing),))
        (image,) = request.inputs["image_bytes"].string_val
        if not image.startswith(b"\xff\xd8"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "image is neither JPEG nor PNG")
        number = int.from_bytes(image[2:10], "big")
        return self.respond(number) if self.respond else response_of(number, self.version, self.as_content)

    def _status(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        if self.busy_status:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        request = tfs.GetModelStatusRequest.FromString(data)
        if request.model_spec.name != self.model_name:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}"
            )
        state = tfs.ModelVersionStatus.AVAILABLE if self.available else tfs.ModelVersionStatus.LOADING
        answer = tfs.GetModelStatusResponse()
        answer.model_version_status.add(version=self.version, state=state)
        return bytes(answer.SerializeToString())


def response_of(number: int, version: int = 1, as_content: bool = False, **changes: Any) -> bytes:
    """A PredictResponse with K = number % 4 detections of class `number`, as typed fields or tensor_content."""
    import numpy as np

    count = number % 4
    outputs: dict[str, Any] = {
        "detection_boxes": np.zeros((1, MAX_DET, 4), np.float32),
        "detection_scores": np.zeros((1, MAX_DET), np.float32),
        "detection_classes": np.zeros((1, MAX_DET), np.float32),
        "num_detections": np.array([count], np.float32),
    }
    for row in range(count):
        outputs["detection_boxes"][0, row] = 0.1 * row, 0.2, 0.1 * row + 0.1, 0.4
        outputs["detection_scores"][0, row] = 0.9 - 0.1 * row
        outputs["detection_classes"][0, row] = number
    response = tfs.PredictResponse()
    response.model_spec.name = "yolov8"
    response.model_spec.version.value = version
    for name, array in (outputs | changes).items():
        if array is None:
            continue
        tensor = response.outputs[name]
        tensor.dtype = {"float32": tfs.DT_FLOAT, "int32": tfs.DT_INT32, "int64": tfs.DT_INT64}[
            str(array.dtype)
        ]
        for size in array.shape:
            tensor.tensor_shape.dim.add().size = size
        if as_content:
            tensor.tensor_content = array.tobytes()
        else:
            field_of = {tfs.DT_FLOAT: "float_val", tfs.DT_INT32: "int_val", tfs.DT_INT64: "int64_val"}
            getattr(tensor, field_of[tensor.dtype]).extend(array.ravel().tolist())
    text = response.outputs["detection_classes_as_text"]
    text.dtype = tfs.DT_STRING
    text.string_val.extend([b"thing"] * count + [b""] * (MAX_DET - count))
    return bytes(response.SerializeToString())


class RelayThread:
    """A relay on an event loop of its own in this process. `port` stays the same over `stop` and `start`."""

    def __init__(self, target: str, **options: Any) -> None:
        self._options: dict[str, Any] = {
            "target": target, "http_port": None, "health_interval_s": 0.05, "grace_s": 2.0, **options,
        }  # fmt: skip
        self.port = 0

    def start(self) -> Self:
        ready = threading.Event()
        self._stop = threading.Event()

        async def serve() -> None:
            config = RelayConfig(listen=f"127.0.0.1:{self.port}", **self._options)
            async with Relay(config) as self.relay:
                self.port = self.relay.port
                ready.set()
                await asyncio.to_thread(self._stop.wait)

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self._thread.start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        """As on SIGTERM: drains; then every frame has its fate."""
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.assert_balanced()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, name: str, **labels: str) -> float:
        """A metric's sum over the samples that carry `labels`."""
        return sum(
            sample.value
            for metric in self.relay.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_idle(self) -> None:
        """Until every stream has ended."""
        until = time.monotonic() + 5
        while self.count("sightline_relay_streams"):
            assert time.monotonic() < until
            time.sleep(0.005)

    def assert_balanced(self) -> None:
        """Frame conservation at the relay: received = Σ outcomes, once nothing is pending."""
        assert self.count("sightline_relay_pending_frames") == 0
        assert self.count("sightline_relay_frames_received_total") == self.count(
            "sightline_relay_frames_total"
        )
        assert self.count("sightline_relay_predicts_in_flight") == 0
        assert self.count("sightline_relay_streams") == 0


class RelayProcess:
    """A relay in a process of its own, to be killed."""

    def __init__(self, target: str, listen: str) -> None:
        self._code = (
            "import sys; from client.relay import RelayConfig, run; "
            f"sys.exit(run(RelayConfig(target={target!r}, listen={listen!r}, http_port=None)))"
        )
        self.target = listen

    def start(self) -> Self:
        self.process = subprocess.Popen(
            bound([sys.executable, "-c", self._code]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def signal(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit status and what it wrote to stderr."""
        os.kill(self.process.pid, number)
        _, err = self.process.communicate(timeout=15)
        return self.process.returncode, err

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)


class NumberSource:
    """`count` frames (None: for ever) that carry their numbers, `interval_s` apart; `live` as a camera's or a file's.

    `image`: what the encoded file of a number is.
    """

    def __init__(
        self,
        count: int | None,
        *,
        live: bool = False,
        interval_s: float = 0.0,
        camera_id: str = "camera",
        image: Callable[[int], bytes] = image_of,
    ) -> None:
        self.camera_id, self.live = camera_id, live
        self._count, self._interval_s, self._image = count, interval_s, image
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        number = 0
        while not self._closed.is_set() and (self._count is None or number < self._count):
            jpeg = self._image(number)
            yield Frame(self.camera_id, number, time.monotonic(), time.time_ns(), jpeg=jpeg)
            number += 1
            if self._interval_s:
                self._closed.wait(self._interval_s)

    def close(self) -> None:
        self._closed.set()


@dataclass
class FakeRelay:
    """The camera's side of a relay, answering by rote. Its behaviour may be changed while it runs.

    `answer`: the messages, as bytes, that a frame is answered with. `refuse`: what each new stream is ended with.
    `tls`: a certificate for localhost, its key beside it (see tests/client/certificates.py).
    """

    answer: Callable[[pb.Frame], list[bytes]]
    refuse: tuple[grpc.StatusCode, str] | None = None
    tls: Path | None = None
    stay: bool = False  # a stream goes on after the camera has half-closed
    tokens: list[str] = field(default_factory=list)  # each stream's

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        _, service, method = DETECT.split("/")
        detect = grpc.stream_stream_rpc_method_handler(self._detect, pb.Frame.FromString)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: detect}),)
        )
        if self.tls is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            pair = (self.tls.with_name("key.pem").read_bytes(), self.tls.read_bytes())
            port = self._server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
        self.target = f"localhost:{port}" if self.tls else f"127.0.0.1:{port}"
        self._server.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()

    def _detect(self, frames: Iterator[pb.Frame], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.refuse is not None:
            context.abort(*self.refuse)
        context.send_initial_metadata((HELLO,))
        for frame in frames:
            yield from self.answer(frame)
        if self.stay:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(20)


def done(frame: pb.Frame) -> list[bytes]:
    """A frame's answer, of one who does nothing."""
    return [pb.Result(frame_id=frame.frame_id, dropped=pb.Dropped(reason="done")).SerializeToString()]
