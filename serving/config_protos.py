"""TF Serving's configuration messages that no package ships as Python: built here from their fields.

Text format names fields, never numbers, so the names and types are all that matters.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_PACKAGE = "tensorflow.serving"
_INT64, _STRING, _BOOL, _WRAPPED_INT64, _WRAPPED_STRING, _WRAPPED_BOOL = (
    "int64",
    "string",
    "bool",
    ".google.protobuf.Int64Value",
    ".google.protobuf.StringValue",
    ".google.protobuf.BoolValue",
)
_MESSAGES: dict[str, dict[str, str]] = {
    "BatchingParameters": {
        "max_batch_size": _WRAPPED_INT64,
        "batch_timeout_micros": _WRAPPED_INT64,
        "max_enqueued_batches": _WRAPPED_INT64,
        "num_batch_threads": _WRAPPED_INT64,
        "thread_pool_name": _WRAPPED_STRING,
        "allowed_batch_sizes": "repeated",
        "pad_variable_length_inputs": _BOOL,
        "enable_large_batch_splitting": _WRAPPED_BOOL,
        "max_execution_batch_size": _WRAPPED_INT64,
    },
    "SSLConfig": {
        "server_key": _STRING,
        "server_cert": _STRING,
        "custom_ca": _STRING,
        "client_verify": _BOOL,
    },
    "PrometheusConfig": {"enable": _BOOL, "path": _STRING},
    "MonitoringConfig": {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"},
}


def _build() -> dict[str, Any]:
    """The message classes by name, in a pool of their own so that a later package's cannot clash."""
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {
        _INT64: field_type.TYPE_INT64,
        "repeated": field_type.TYPE_INT64,
        _STRING: field_type.TYPE_STRING,
        _BOOL: field_type.TYPE_BOOL,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            label = field_type.LABEL_REPEATED if kind == "repeated" else field_type.LABEL_OPTIONAL
            entry = message.field.add(name=field, number=number, label=label)
            if kind in scalars:
                entry.type = scalars[kind]
            else:
                entry.type, entry.type_name = field_type.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _build()
BatchingParameters: Any = _CLASSES["BatchingParameters"]
SSLConfig: Any = _CLASSES["SSLConfig"]
MonitoringConfig: Any = _CLASSES["MonitoringConfig"]
