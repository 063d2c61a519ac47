"""The gRPC side: PredictionService, ModelService, health and reflection on grpcio's threaded server.

The threaded server and not grpc.aio: a session run blocks, so with asyncio each call pays two more thread
hops (0.1 ms at p50 and a tenth of the calls per second with a 120 KB request that does nothing).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from serving import tls
from serving.errors import Code, ServingError, truncated
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.profiler import SERVICE as PROFILER
from serving.profiler import Profiler
from serving.servicer import Servicer

log = logging.getLogger(__name__)

INT32_MAX = (1 << 31) - 1
# From the descriptors, which reflection needs loaded.
PREDICTION_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
Behaviour = Callable[[bytes, Any], Any]


class CountingPool(ThreadPoolExecutor):
    """A thread pool that knows how many tasks it holds, running or waiting."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "grpc")
        self._count = 0
        self._count_lock = threading.Lock()

    @property
    def held(self) -> int:
        """Tasks submitted and not finished."""
        return self._count

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ThreadPoolExecutor.submit."""
        with self._count_lock:
            self._count += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except RuntimeError:  # shut down
            self._done(None)
            raise
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Any) -> None:
        with self._count_lock:
            self._count -= 1


def _behaviour(method: Behaviour) -> Behaviour:
    """A method as grpcio calls it: bytes in, bytes out, errors as status."""

    def call(data: bytes, context: Any) -> bytes:
        try:
            answer = method(data, context)
            return answer if isinstance(answer, bytes) else answer.SerializeToString()
        except ServingError as error:
            failure = error
        except Exception:  # a bug or a limit (a response above 2 GiB): the client learns no internals
            log.exception("Request failed")
            failure = ServingError(Code.INTERNAL, "Internal error; the server's log has the details.")
        context.abort(_STATUS_CODES[int(failure.code)], truncated(failure.message))
        raise AssertionError  # abort always raises

    return call


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds a method's handler; answers RESOURCE_EXHAUSTED once `limit` calls are being handled."""

    def __init__(
        self,
        servicer: Servicer,
        profiler: Profiler | None,
        pool: CountingPool,
        limit: int,
        spare: ThreadPoolExecutor,
    ) -> None:
        methods: dict[str, Behaviour] = {
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
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_behaviour(method)) for path, method in methods.items()
        }
        self._pool, self._limit = pool, limit
        exhausted = _behaviour(_exhausted)
        exhausted.experimental_thread_pool = spare  # type: ignore[attr-defined]
        self._exhausted = grpc.unary_unary_rpc_method_handler(exhausted)

    def service(self, handler_call_details: Any) -> Any:
        """grpcio asks this on its own thread before a call takes one of the pool's."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None and self._pool.held >= self._limit:
            return self._exhausted
        return handler


def _exhausted(_: bytes, __: Any) -> Any:
    raise ServingError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")


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
        self._spare = ThreadPoolExecutor(2, "grpc-spare")
        pool = CountingPool(options.max_threads)
        self._server = grpc.server(pool, options=_arguments(options.channel_arguments))
        profiler = Profiler() if options.profiler else None
        handlers = Handlers(Servicer(predictor, metrics), profiler, pool, options.max_threads, self._spare)
        self._server.add_generic_rpc_handlers((handlers,))
        self._health = self._add_health() if options.health else None
        self._add_reflection(options.health)
        self._addresses = options.addresses
        self._credentials = options.credentials

    def _add_health(self) -> Any:
        """grpc.health.v1 for the names that TF Serving sets."""
        servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=self._spare)
        for name in ("", "ModelService", "PredictionService"):
            servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        servicer.Check.__func__.experimental_thread_pool = self._spare
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        return servicer

    def _add_reflection(self, with_health: bool) -> None:
        names = [PREDICTION_SERVICE, MODEL_SERVICE, reflection.SERVICE_NAME]
        names += [health.SERVICE_NAME] if with_health else []
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
        self._server.start()

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
        arguments.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return arguments
