"""The gRPC side: PredictionService, ModelService, health and reflection on grpcio's threaded server.

The threaded server and not grpc.aio: a session run blocks, so with asyncio each call pays two more changes of thread
(0.1 ms at p50 and a tenth of the calls per second with a 120 KB request that does nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from serving import tls
from serving.errors import Code, ServingError
from serving.flags import integer
from serving.grpc_loop import Call, Loop, Method
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.profiler import SERVICE as PROFILER
from serving.profiler import Profiler
from serving.servicer import Servicer

INT32_MAX = (1 << 31) - 1
# From the descriptors, which reflection needs loaded.
PREDICTION_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


def _methods(servicer: Servicer, profiler: Profiler | None) -> dict[str, Method]:
    """Every unary method by its path."""
    methods: dict[str, Callable[[bytes, Any], Any]] = {
        f"/{PREDICTION_SERVICE}/Predict": servicer.predict,
        f"/{PREDICTION_SERVICE}/GetModelMetadata": servicer.metadata,
        f"/{PREDICTION_SERVICE}/Classify": servicer.classify,
        f"/{PREDICTION_SERVICE}/Regress": servicer.regress,
        f"/{PREDICTION_SERVICE}/MultiInference": servicer.multi_inference,
        f"/{MODEL_SERVICE}/GetModelStatus": servicer.status,
        f"/{MODEL_SERVICE}/HandleReloadConfigRequest": servicer.reload,
    }
    if profiler is not None:
        methods |= {
            f"/{PROFILER}/Profile": profiler.profile,
            f"/{PROFILER}/Terminate": profiler.terminate,
            f"/{PROFILER}/Monitor": profiler.monitor,
        }
    return {path: _serialized(method) for path, method in methods.items()}


def _serialized(method: Callable[[bytes, Any], Any]) -> Method:
    """A method whose answer is always bytes."""

    def call(request: bytes, context: Call) -> bytes:
        answer = method(request, context)
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    return call


class _Reflection(reflection.ReflectionServicer):  # type: ignore[misc]
    """Reflection with threads of its own: an idle stream holds one, and must not take a Predict's."""

    def ServerReflectionInfo(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        yield from super().ServerReflectionInfo(request_iterator, context)


@dataclass(frozen=True)
class GrpcOptions:
    """Where and how to listen: addresses such as `127.0.0.1:8500` or `unix:/path`."""

    addresses: Sequence[str]
    max_threads: int
    health: bool = False
    profiler: bool = False
    channel_arguments: str = ""
    credentials: Any = None  # grpc.ServerCredentials; None: no TLS


class GrpcServer:
    """The gRPC server; it listens once `start` is called."""

    def __init__(self, options: GrpcOptions, predictor: Predictor, metrics: Metrics) -> None:
        self._spare = ThreadPoolExecutor(2, "grpc-spare")  # for all but the methods that the loop has
        self._server = grpc.server(self._spare, options=_arguments(options.channel_arguments))
        profiler = Profiler() if options.profiler else None
        self._loop = Loop(self._server, _methods(Servicer(predictor, metrics), profiler), options.max_threads)
        self._health = self._add_health() if options.health else None
        self._add_reflection(options)
        self._addresses = options.addresses
        self._credentials = options.credentials

    def _add_health(self) -> Any:
        """grpc.health.v1 for the names that TF Serving sets."""
        servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=self._spare)
        for name in ("", "ModelService", "PredictionService"):
            servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        return servicer

    def _add_reflection(self, options: GrpcOptions) -> None:
        names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
        names += [health.SERVICE_NAME] if options.health else []
        names += [PROFILER] if options.profiler else []
        streams = ThreadPoolExecutor(4, "grpc-reflection")
        _Reflection.ServerReflectionInfo.experimental_thread_pool = streams  # type: ignore[attr-defined]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(names), self._server)

    def start(self) -> None:
        """Listen; raises ServingError when an address is taken."""
        for address in self._addresses:
            try:
                if self._credentials is None:
                    self._server.add_insecure_port(address)
                else:
                    self._server.add_secure_port(address, self._credentials)
            except RuntimeError as error:  # taken since it was checked
                if self._credentials is not None:
                    raise tls.bind_error(address) from None
                flag = "grpc_socket_path" if address.startswith("unix:") else "port"
                raise ServingError(
                    Code.UNAVAILABLE, f"cannot listen on {address} ({error}); choose another with --{flag}"
                ) from None
        self._loop.start()

    def stop(self, grace_s: float) -> None:
        """Take no new calls, finish those in flight for up to `grace_s` seconds, then end."""
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()


def _arguments(text: str) -> list[tuple[str, Any]]:
    """gRPC server arguments: TF Serving's message size, no shared ports, and --grpc_channel_arguments."""
    arguments: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", INT32_MAX),
        ("grpc.max_send_message_length", INT32_MAX),
        (
            "grpc.so_reuseport",
            0,
        ),  # a second server on the same port is an error, not a silent half of the calls
    ]
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"--grpc_channel_arguments: expected key=value, got {item}"
            )
        arguments.append((key, _argument(value)))
    return arguments


def _argument(text: str) -> int | str:
    """An argument's value: a number where it is an int32, else text, of which gRPC thinks what it likes."""
    try:
        return integer(text, 32)
    except ValueError:
        return text
