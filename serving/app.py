"""The process: flags to a running server, until a signal ends it."""

from __future__ import annotations

import gc
import logging
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from serving import flags, ports
from serving.errors import ServingError, invalid
from serving.flags import Options

if TYPE_CHECKING:  # these import TensorFlow
    from serving.config import ModelConfig
    from serving.grpc_service import GrpcServer
    from serving.models import ModelManager
    from serving.rest_server import RestServer

log = logging.getLogger("serving")

REAL_SERVER = "tensorflow_model_server"
BECAME = "SIGHTLINE_BECAME"  # the environment variable that says what this process has been replaced by
GRACE_S = 5.0  # for what is in flight at SIGTERM; Kubernetes' default is 30 s in all
START_FAILED = 255  # TF Serving's main returns -1


def run(argv: Sequence[str]) -> int:
    """See `serving.main`; once TensorFlow is loaded, the process ends here."""
    try:
        options = flags.parse(argv)
    except flags.UsageError as error:
        if str(error):
            print(error, file=sys.stderr)
        print(flags.usage("sightline serve"), end="")
        return START_FAILED
    _become_real_server(argv)
    if options.on("version"):
        print(f"TensorFlow ModelServer: sightline {metadata.version('sightline')}")
        print(f"TensorFlow Library: {metadata.version('tensorflow')}", flush=True)
        return 0
    if options.unknown:
        print(f"unknown argument: {options.unknown[0]}\n{flags.usage('sightline serve')}", end="", flush=True)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s.%(msecs)03d: %(levelname).1s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )  # fmt: skip
    for name in ("tensorflow", "uvicorn.error"):  # what they say of their own working is no news here
        logging.getLogger(name).setLevel(logging.WARNING)
    _allow_connections()
    # A load runs Python for tenths of a second, and a call asks for Python's lock some ten times: not 5 ms each.
    sys.setswitchinterval(0.001)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        check(options)
        check_files(options)
    except ServingError as error:
        return _failed(error)
    try:
        code = serve(options, stop)
    except ServingError as error:
        code = _failed(error)
    # Python's own way out stops gRPC's and TensorFlow's threads inside C++ frames, which aborts (exit code 134).
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _allow_connections() -> None:
    """Lift the limit of open files, and so of connections, as far as the process may: often 1,024 by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _failed(error: ServingError) -> int:
    print(f"Failed to start server. Error: {error}", flush=True)
    return START_FAILED


def _become_real_server(argv: Sequence[str]) -> None:
    """Replace this process by tensorflow_model_server where there is one on PATH."""
    path = shutil.which(REAL_SERVER)
    if path is None or os.environ.get(BECAME) == path:  # it is a script that starts this server
        return
    os.environ[BECAME] = path
    own = tuple(f"--{name}" for name in flags.OWN_FLAGS)
    passed = [arg for arg in argv if arg.partition("=")[0] not in own]
    print(
        f"Running {path}, which listens on all interfaces (--host is not one of its flags)", file=sys.stderr
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(path, [path, *passed])


def check(options: Options) -> None:
    """Raise ServingError for flags that cannot work together, or that this server lacks."""
    if not options.number("port") and not options.text("grpc_socket_path"):
        raise invalid(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not options.text("model_base_path") and not options.text("model_config_file"):
        raise invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")
    for flag in flags.FLAGS:
        if flag.effect == "refused" and options.values[flag.name] != flag.default:
            raise invalid(
                f"--{flag.name} is not supported by this server; start it without, or use {REAL_SERVER}."
            )
        if flag.effect == "none" and flag.name in options.given:
            log.warning("--%s has no effect here", flag.name)
    # TensorFlow ends the process for a negative number of threads inside an op.
    least = {"grpc_max_threads": 1, "rest_api_num_threads": 1}
    least |= {"tensorflow_session_parallelism": 0, "tensorflow_intra_op_parallelism": 0}
    for name, number in least.items():
        if options.number(name) < number:
            raise invalid(f"--{name}={options.values[name]}: expected at least {number}")
    for name in ("port", "rest_api_port"):
        if options.number(name):
            ports.check_free(options.text("host"), options.number(name), name)
    if options.text("grpc_socket_path"):
        ports.check_socket(options.text("grpc_socket_path"))


def check_files(options: Options) -> None:
    """Raise ServingError for a file of settings that cannot be read, before TensorFlow takes its seconds to load.

    In TF Serving's order; what a --platform_config_file says instead of flags, it does not ask of the flags.
    """
    from serving import batching_config, config, tls

    path = options.text("model_config_file")
    models = config.read_text_proto(path, config.ModelServerConfig()) if path else None
    if not options.text("platform_config_file"):
        _check_session_flags(options)
        if options.text("batching_parameters_file"):
            batching_config.read_batching_parameters(options.text("batching_parameters_file"))
    if models is not None:
        config.from_proto(models)
    elif options.text("model_base_path"):
        config.single_model(options.text("model_name"), options.text("model_base_path"))
    readers: dict[str, Callable[[str], object]] = {
        "monitoring_config_file": config.read_monitoring_config,
        "ssl_config_file": tls.server_credentials,
    }
    for flag, read in readers.items():
        if options.text(flag):
            read(options.text(flag))


def _check_session_flags(options: Options) -> None:
    """Raise ServingError for flags of sessions and batching that cannot work together."""
    if options.text("batching_parameters_file") and not options.on("enable_batching"):
        raise invalid(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    names = ("session", "intra_op", "inter_op")
    if all(options.number(f"tensorflow_{name}_parallelism") > 0 for name in names):
        raise invalid(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )


def serve(options: Options, stop: threading.Event) -> int:
    """Load the models, open the ports, wait for `stop`, drain."""
    from serving import build

    metrics_path = build.metrics_path(options)
    configs = build.model_configs(options)
    manager, predictor, metrics = build.engine(options)
    grpc_server = build.grpc_server(options, predictor, metrics)
    rest_server = build.rest_server(options, predictor, metrics, metrics_path)
    # To look through all that TensorFlow's modules made takes 0.15 s with Python's lock held, and the many objects of a
    # graph that is loaded set it off: not while others' calls wait.
    gc.freeze()
    if not _load(manager, configs, stop):
        return 0
    grpc_server.start()
    if options.number("port"):
        log.info("Running gRPC ModelServer at %s ...", _address(options, "port"))
    if rest_server is not None:
        rest_server.start(ports.bind(options.text("host"), options.number("rest_api_port"), "rest_api_port"))
        log.info("Exporting HTTP/REST API at:%s ...", _address(options, "rest_api_port"))
        log.info("NET_LOG: Entering the event loop ...")  # TF Serving's last line: scripts wait for it
    build.watch_config_file(options, manager, stop)
    stop.wait()
    _drain(manager, grpc_server, rest_server)
    return 0


def _load(manager: ModelManager, configs: Sequence[ModelConfig] | None, stop: threading.Event) -> bool:
    """Load the first models; False when a signal came first. Raises ServingError when one fails."""
    failure: list[ServingError] = []

    def configure() -> None:
        try:
            manager.configure(configs)
        except ServingError as error:
            failure.append(error)

    loading = threading.Thread(target=configure, name="configure", daemon=True)
    loading.start()
    while loading.is_alive() and not stop.is_set():
        loading.join(0.02)
    if failure or stop.is_set():
        manager.stop()
    if failure:
        raise failure[0]
    return not stop.is_set()


def _drain(manager: ModelManager, grpc_server: GrpcServer, rest_server: RestServer | None) -> None:
    """Take nothing new, finish what is in flight within the grace, stop."""
    log.info("Stopping: finishing what is in flight, for %g s at most", GRACE_S)
    end = time.monotonic() + GRACE_S
    if rest_server is not None:
        rest_server.begin_stop(GRACE_S)
    grpc_server.stop(GRACE_S)
    if rest_server is not None:
        rest_server.join(max(0.0, end - time.monotonic()))
    manager.stop()


def _address(options: Options, flag: str) -> str:
    return ports.address(options.text("host"), options.number(flag))
