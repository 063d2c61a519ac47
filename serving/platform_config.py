"""--platform_config_file: a PlatformConfigMap, in place of the flags on how models are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, named_tensor_pb2

from serving import batching_config
from serving.batching_config import BatchingOptions
from serving.config import PLATFORM, read_text_proto
from serving.config_protos import MESSAGES, PACKAGE, WRAPPERS, build
from serving.errors import invalid
from serving.flags import CPUS
from serving.servable import LoadOptions
from serving.sessions import SessionOptions

_MESSAGES = {
    # A map in TF Serving; the text form of a map is that of a repeated entry.
    "PlatformConfigMap": {"platform_configs": f"repeated .{PACKAGE}.PlatformConfigEntry"},
    "PlatformConfigEntry": {"key": "string", "value": f".{PACKAGE}.PlatformConfig"},
    "PlatformConfig": {"source_adapter_config": ".google.protobuf.Any"},
    "SavedModelBundleSourceAdapterConfig": {"legacy_config": f".{PACKAGE}.SessionBundleConfig"},
    "ModelWarmupOptions": {"num_request_iterations": WRAPPERS + "Int32Value"},
    "SessionBundleConfig": {
        "session_target": "string",
        "session_config": ".tensorflow.ConfigProto",
        "batching_parameters": f".{PACKAGE}.BatchingParameters",
        "session_run_load_threadpool_index": WRAPPERS + "Int32Value",
        "experimental_transient_ram_bytes_during_load": "int64",
        "saved_model_tags": "repeated string",
        "experimental_fixed_input_tensors": "repeated .tensorflow.NamedTensorProto",
        "enable_model_warmup": "bool",
        "model_warmup_options": f".{PACKAGE}.ModelWarmupOptions",
        "enable_session_metadata": "bool",
        "remove_unused_fields_from_bundle_metagraph": "bool",
        "prefer_tflite_model": "bool",
        "num_tflite_pools": "int32",
        "num_tflite_interpreters_per_pool": "int32",
        "num_tflite_interpreters": "int32",
        "wrap_session_with_no_threading_params": "bool",
        "enable_per_model_batching_params": "bool",
    },
}
_POOL, _CLASSES = build({**MESSAGES, **_MESSAGES}, [any_pb2, wrappers_pb2, config_pb2, named_tensor_pb2])


def read(path: str, options: LoadOptions) -> tuple[LoadOptions, BatchingOptions | None]:
    """`options` with what the file says of models of platform `tensorflow`, and its batching; raises ServingError."""
    platforms = read_text_proto(path, _CLASSES["PlatformConfigMap"](), _POOL).platform_configs
    entries = {entry.key: entry.value for entry in platforms}
    if PLATFORM not in entries:
        raise invalid(f"{path}: expected platform_configs for the platform {PLATFORM}, got {sorted(entries)}")
    adapter = _CLASSES["SavedModelBundleSourceAdapterConfig"]()
    any_config = entries[PLATFORM].source_adapter_config
    try:
        known = any_config.Unpack(adapter)
    except DecodeError:
        known = False
    if not known:
        raise invalid(
            f"{path}: expected the source_adapter_config to be a {adapter.DESCRIPTOR.full_name}, got "
            f"{any_config.type_url or 'none'}"
        )
    bundle = adapter.legacy_config
    if bundle.experimental_fixed_input_tensors:
        raise invalid(f"{path}: experimental_fixed_input_tensors are not supported by this server")
    warmup = bundle.model_warmup_options
    lite = bundle.num_tflite_pools or bundle.num_tflite_interpreters or CPUS
    changed = replace(
        options,
        tags=tuple(bundle.saved_model_tags) or LoadOptions.tags,
        session=_session(bundle),
        warmup=bundle.enable_model_warmup,
        warmup_iterations=max(1, warmup.num_request_iterations.value),
        lite_interpreters=lite if bundle.prefer_tflite_model else 0,
    )
    if not bundle.HasField("batching_parameters"):
        return changed, None
    batching = batching_config.from_proto(bundle.batching_parameters)
    return changed, replace(batching, per_model=bundle.enable_per_model_batching_params)


def _session(bundle: Any) -> SessionOptions:
    """One session as the file says or, when it says nothing of sessions, threads by load."""
    if not bundle.HasField("session_config"):
        return SessionOptions()
    return SessionOptions(config=bundle.session_config.SerializeToString(), by_load=False)
