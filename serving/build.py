"""The server's parts, made from its flags."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from serving import config as configs
from serving import platform_config, ports, tls
from serving.batching_config import BatchingOptions, read_batching_parameters
from serving.config import ModelConfig
from serving.errors import ServingError
from serving.flags import Options
from serving.grpc_service import GrpcOptions, GrpcServer
from serving.metrics import Metrics
from serving.models import ModelManager
from serving.predict import Predictor
from serving.rest import RestApp, RestOptions
from serving.rest_server import RestServer
from serving.servable import LoadOptions
from serving.sessions import SessionOptions

log = logging.getLogger(__name__)


def model_configs(options: Options) -> tuple[ModelConfig, ...] | None:
    """The models to serve, None: none until a list comes; raises ServingError."""
    path = options.text("model_config_file")
    if path:
        return configs.read_model_config_file(path)
    return configs.single_model(options.text("model_name"), options.text("model_base_path"))


def metrics_path(options: Options) -> str | None:
    """Where metrics are served, or None; raises ServingError."""
    path = options.text("monitoring_config_file")
    return configs.read_monitoring_config(path) if path else None


def session_options(options: Options) -> SessionOptions:
    """Threads and everything else of a session; threads by load unless the operator chose some. Raises ServingError."""
    path = options.text("tensorflow_session_config_file")
    config = configs.read_text_proto(path, config_pb2.ConfigProto()) if path else config_pb2.ConfigProto()
    both, intra, inter = (
        options.number(f"tensorflow_{name}_parallelism") for name in ("session", "intra_op", "inter_op")
    )
    share, precision = options.values["per_process_gpu_memory_fraction"], options.text("mixed_precision")
    if share:
        config.gpu_options.per_process_gpu_memory_fraction = share
    if precision == "bfloat16":
        rewrite = config.graph_options.rewrite_options
        rewrite.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    elif precision:
        log.warning("--mixed_precision=%s is not supported, only bfloat16 is", precision)
    if not intra and not inter:
        intra = inter = both
    return SessionOptions(intra, inter, config.SerializeToString(), not (intra or inter or path))


def _batching(options: Options) -> BatchingOptions | None:
    """How requests are batched, None: not at all; raises ServingError."""
    if not options.on("enable_batching"):
        return None
    path = options.text("batching_parameters_file")
    return replace(
        read_batching_parameters(path) if path else BatchingOptions(),
        isolate_failures=options.on("isolate_batch_failures"),
        per_model=options.on("enable_per_model_batching_parameters"),
    )


def load_options(options: Options) -> tuple[LoadOptions, BatchingOptions | None]:
    """How models are loaded and batched; raises ServingError."""
    path = options.text("platform_config_file")
    load = LoadOptions(
        threads=options.number("num_load_threads"),
        max_retries=options.number("max_num_load_retries"),
        retry_interval_s=options.number("load_retry_interval_micros") / 1e6,
        poll_s=options.number("file_system_poll_wait_seconds"),
        labels_for_unavailable=options.on("allow_version_labels_for_unavailable_models"),
    )
    isolate = options.on("isolate_batch_failures")
    if path:
        load, batching = platform_config.read(path, load)
        return load, batching and replace(batching, isolate_failures=isolate)
    load = replace(
        load,
        tags=tuple(filter(None, options.text("saved_model_tags").split(","))) or LoadOptions.tags,
        session=session_options(options),
        lite_interpreters=max(1, options.number("num_tflite_pools"))
        if options.on("prefer_tflite_model")
        else 0,
        warmup=options.on("enable_model_warmup"),
        warmup_iterations=max(1, options.number("num_request_iterations_for_warmup")),
    )
    return load, _batching(options)


def engine(options: Options) -> tuple[ModelManager, Predictor, Metrics]:
    """The models (not yet loaded), what runs them, and the metrics."""
    metrics = Metrics()
    manager = ModelManager(*load_options(options), metrics)
    predictor = Predictor(
        manager,
        metrics,
        as_content=options.on("enable_serialization_as_tensor_content"),
        check_method=options.on("enable_signature_method_name_check"),
    )
    return manager, predictor, metrics


def grpc_server(options: Options, predictor: Predictor, metrics: Metrics) -> GrpcServer:
    """The gRPC server, not yet listening."""
    port, path = options.number("port"), options.text("grpc_socket_path")
    ssl_file = options.text("ssl_config_file")
    is_loopback = ports.is_loopback(options.text("host"))
    addresses = [ports.address(options.text("host"), port)] if port else []
    addresses += [f"unix:{path}"] if path else []
    return GrpcServer(
        GrpcOptions(
            addresses,
            max_threads=options.number("grpc_max_threads"),
            health=options.on("enable_grpc_healthcheck_service"),
            profiler=options.on("enable_profiler") and (is_loopback or "enable_profiler" in options.given),
            channel_arguments=options.text("grpc_channel_arguments"),
            credentials=tls.server_credentials(ssl_file) if ssl_file else None,
        ),
        predictor,
        metrics,
    )


def rest_server(
    options: Options, predictor: Predictor, metrics: Metrics, metrics_path: str | None
) -> RestServer | None:
    """The REST server, not yet listening; None when its port is off."""
    port = options.number("rest_api_port")
    if not port:
        return None
    if port == options.number("port"):
        log.error(
            "--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST API. "
            "Skipped exporting HTTP/REST API."
        )
        return None
    rest = RestOptions(
        threads=options.number("rest_api_num_threads"),
        timeout_s=options.number("rest_api_timeout_in_ms") / 1000,
        cors=options.on("rest_api_enable_cors_support"),
        metrics_path=metrics_path,
    )
    return RestServer(RestApp(rest, predictor, metrics))


def watch_config_file(options: Options, manager: ModelManager, stop: threading.Event) -> None:
    """Apply --model_config_file every --model_config_file_poll_wait_seconds, on a thread, until `stop`.

    Changed or not, as TF Serving does: what a client configured meanwhile gives way to the file.
    """
    path, every_s = options.text("model_config_file"), options.number("model_config_file_poll_wait_seconds")
    if not path or every_s <= 0:
        return

    def watch() -> None:
        said = ""
        while not stop.wait(every_s):
            try:
                manager.configure(configs.read_model_config_file(path, manager.configured()))
                said = ""
            except ServingError as error:
                if str(error) != said:  # once, not every time
                    log.error("Reloading %s failed, the models stay as they are: %s", path, error)
                said = str(error)
            except Exception:  # a watcher that dies would freeze the list unnoticed
                log.exception("Reloading %s failed", path)

    threading.Thread(target=watch, name="config", daemon=True).start()
