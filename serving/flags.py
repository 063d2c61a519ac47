"""tensorflow_model_server's flags, in its own syntax, as one table.

The syntax is TensorFlow's `Flags::Parse`: `--name=value` only (`--name value` is an unknown argument), booleans also
bare, or `1`, `0` and `true`, `false` in any case; the last one given wins. An unknown argument is reported and the
server goes on; a value that does not parse ends with the usage text and exit code 255.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | bool

CPUS = len(os.sched_getaffinity(0))
OWN_FLAGS = (
    "host",
    "isolate_batch_failures",
)  # not TF Serving's: removed before a real tensorflow_model_server is started


@dataclass(frozen=True)
class Flag:
    """One flag. `effect` says what this server does with it.

    "works": as in TF Serving. "none": accepted, has no effect here (said in the log when it is given).
    "refused": not implemented; a value other than the default ends the start with an error.
    """

    name: str
    default: Value
    help: str
    effect: Literal["works", "none", "refused"] = "works"


FLAGS: tuple[Flag, ...] = (
    Flag("port", 8500, "TCP port for gRPC. Disabled if 0."),
    Flag("grpc_socket_path", "", "If set, listen for gRPC on a UNIX socket at this path too."),
    Flag("rest_api_port", 0, "TCP port for HTTP/REST. Disabled if 0. Must differ from --port."),
    Flag("rest_api_num_threads", 4 * CPUS, "Threads that process HTTP/REST requests."),
    Flag("rest_api_timeout_in_ms", 30000, "Timeout of an HTTP/REST call."),
    Flag("rest_api_enable_cors_support", False, "Send CORS headers in HTTP/REST answers."),
    Flag(
        "model_config_file",
        "",
        "Text file with a ModelServerConfig. Used instead of --model_name, --model_base_path.",
    ),
    Flag(
        "model_config_file_poll_wait_seconds",
        0,
        "Seconds between readings of --model_config_file; 0: once, at start.",
    ),
    Flag("model_name", "default", "Name of the model."),
    Flag("model_base_path", "", "Folder with the model's version folders."),
    Flag("saved_model_tags", "serve", "Comma-separated tags of the graph to load from the SavedModel."),
    Flag(
        "file_system_poll_wait_seconds",
        1,
        "Seconds between looks for new versions; 0: once, at start; negative: never.",
    ),
    Flag("num_load_threads", 0, "Threads that load models; 0: one at a time."),
    Flag("num_unload_threads", 0, "Threads that unload models.", "none"),
    Flag("max_num_load_retries", 5, "Times a failed load is tried again."),
    Flag("load_retry_interval_micros", 60_000_000, "Microseconds between those."),
    Flag("flush_filesystem_caches", True, "Drop file caches after loading.", "none"),
    Flag(
        "enable_model_warmup", True, "Replay assets.extra/tf_serving_warmup_requests before a version serves."
    ),
    Flag("num_request_iterations_for_warmup", 0, "Times each warm-up request is replayed; 0: once."),
    Flag(
        "allow_version_labels_for_unavailable_models",
        False,
        "Let a new label name a version that is not loaded yet.",
    ),
    Flag("enable_batching", False, "Merge requests into batches."),
    Flag("batching_parameters_file", "", "Text file with BatchingParameters; only with --enable_batching."),
    Flag(
        "enable_per_model_batching_parameters",
        False,
        "Batch only models with a batching_params.pbtxt in the version's folder, by its parameters.",
    ),
    Flag(
        "grpc_channel_arguments",
        "",
        "Comma-separated gRPC server arguments, such as grpc.max_connection_age_ms=2000.",
    ),
    Flag(
        "grpc_max_threads",
        4 * CPUS,
        "gRPC requests handled at once; one more is answered RESOURCE_EXHAUSTED.",
    ),
    Flag("enable_grpc_healthcheck_service", False, "Serve grpc.health.v1."),
    Flag("enable_serialization_as_tensor_content", False, "Answer tensors as tensor_content."),
    Flag("ssl_config_file", "", "Text file with an SSLConfig: TLS for gRPC, mTLS with client_verify."),
    Flag("use_alts_credentials", False, "Use Google's ALTS, which exists in its cloud only.", "refused"),
    Flag(
        "enable_profiler",
        True,
        "Serve TensorFlow's profiler. Where others than this machine can call, only if it is given: a client "
        "names the folder that a profile is written to.",
    ),
    Flag("monitoring_config_file", "", "Text file with a MonitoringConfig."),
    Flag(
        "platform_config_file",
        "",
        "Text file with a PlatformConfigMap, used instead of the flags on batching, sessions, tags, warm-up and "
        "TF Lite.",
    ),
    Flag("tensorflow_session_parallelism", 0, "Threads inside an op and between ops; 0: chosen by load."),
    Flag("tensorflow_intra_op_parallelism", 0, "Threads inside an op; 0: chosen by load."),
    Flag("tensorflow_inter_op_parallelism", 0, "Threads between ops; 0: chosen by load."),
    Flag(
        "tensorflow_session_config_file",
        "",
        "Text file with a tensorflow.ConfigProto; the flags above overrule its threads.",
    ),
    Flag("per_process_gpu_memory_fraction", 0.0, "Share of a GPU's memory to take; 0: TensorFlow chooses."),
    Flag("mixed_precision", "", "bfloat16: compute in bfloat16 where TensorFlow finds that safe."),
    Flag("thread_pool_factory_config_file", "", "Text file with a ThreadPoolConfig.", "refused"),
    Flag("xla_cpu_compilation_enabled", False, "Compile with XLA for the CPU.", "none"),
    Flag("xla_gpu_compilation_enabled", False, "Compile with XLA for CPU and GPU.", "none"),
    Flag("skip_initialize_tpu", False, "Do not initialize a TPU.", "none"),
    Flag("remove_unused_fields_from_bundle_metagraph", True, "Save memory.", "none"),
    Flag(
        "enable_signature_method_name_check",
        False,
        "Refuse signatures whose method_name is not one of TF Serving's.",
    ),
    Flag("prefer_tflite_model", False, "Serve model.tflite from a version's folder where there is one."),
    Flag("num_tflite_pools", CPUS, "Interpreters of a TF Lite model: calls that can run at once."),
    Flag("num_tflite_interpreters_per_pool", 1, "Parts that a TF Lite batch is split into.", "none"),
    Flag("version", False, "Print the version and exit."),
    Flag(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 for all. Not a TF Serving flag: that always takes all.",
    ),
    Flag(
        "isolate_batch_failures",
        False,
        "Run each request of a failed batch by itself. Not a TF Serving flag: there all of them fail.",
    ),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}
_INT64 = {  # the other integers are int32
    "load_retry_interval_micros",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
}
_BOOLS = {"": True, "=true": True, "=1": True, "=false": False, "=0": False}


@dataclass(frozen=True)
class Options:
    """The flags' values by name, those given, and the arguments that are no flag."""

    values: dict[str, Value]
    given: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = field(default=())

    def text(self, name: str) -> str:
        """The value of a string flag."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """The value of an integer flag."""
        return int(self.values[name])

    def on(self, name: str) -> bool:
        """The value of a boolean flag."""
        return bool(self.values[name])


class UsageError(Exception):
    """A flag's value does not parse, or --help was given: print the usage text and exit 255."""


def _value(flag: Flag, text: str) -> Value:
    """`text` as the flag's type; raises UsageError when it is none."""
    try:
        text.encode()  # bytes that are no UTF-8 came as what no protobuf, and no file of TensorFlow's, can be named
        if isinstance(flag.default, bool):
            return _BOOLS[text.lower()]
        if isinstance(flag.default, int):
            return integer(text[1:], 64 if flag.name in _INT64 else 32)
        if isinstance(flag.default, float):
            return float(text[1:])
    except (KeyError, ValueError):
        raise UsageError(f"Couldn't interpret value {text} for flag {flag.name}.") from None
    return text[1:]


def integer(text: str, bits: int) -> int:
    """A whole number of so many bits, as absl::SimpleAtoi reads it; raises ValueError."""
    number = int(text if re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", text) else "no number")
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError
    return number


def parse(argv: Sequence[str]) -> Options:
    """Read flags as `tensorflow_model_server` does; raises UsageError."""
    values: dict[str, Value] = {flag.name: flag.default for flag in FLAGS}
    given: set[str] = set()
    unknown: list[str] = []
    for index, arg in enumerate(argv):
        if arg == "--":  # all that follows is no flag
            unknown.extend(argv[index:])
            break
        name, equals, text = arg.removeprefix("--").partition("=")
        flag = _BY_NAME.get(name) if arg.startswith("--") else None
        if flag is None or (not equals and not isinstance(flag.default, bool)):
            unknown.append(arg)
            continue
        values[name] = _value(flag, equals + text)
        given.add(name)
    if unknown[:1] == ["--help"]:
        raise UsageError("")
    return Options(values, frozenset(given), tuple(unknown))


def usage(program: str) -> str:
    """The usage text, in the form of TensorFlow's `Flags::Usage`."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS:
        kind = {bool: "bool", int: "int32", float: "float", str: "string"}[type(flag.default)]
        kind = "int64" if flag.name in _INT64 else kind
        default = str(flag.default).lower() if isinstance(flag.default, bool) else repr(flag.default)
        note = {"works": "", "none": " (no effect here)", "refused": " (not supported here)"}[flag.effect]
        shown = f"--{flag.name}={default}".replace("'", '"')
        lines.append(f"\t{shown:<48}\t{kind}\t{flag.help}{note}")
    return "\n".join(lines) + "\n"
