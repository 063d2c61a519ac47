"""TF Serving's configuration messages that no package ships as Python: built here from their fields.

Text format names fields, never numbers, so the names and types are all that matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

Messages = Mapping[str, Mapping[str, str]]
"""Fields and their types by message. A type: a scalar's name, or a message's with a leading dot, or `repeated` and one
of these."""

PACKAGE = "tensorflow.serving"
WRAPPERS = ".google.protobuf."
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "bool": _FIELD.TYPE_BOOL,
}
MESSAGES: Messages = {
    "BatchingParameters": {
        "max_batch_size": WRAPPERS + "Int64Value",
        "batch_timeout_micros": WRAPPERS + "Int64Value",
        "max_enqueued_batches": WRAPPERS + "Int64Value",
        "num_batch_threads": WRAPPERS + "Int64Value",
        "thread_pool_name": WRAPPERS + "StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": WRAPPERS + "BoolValue",
        "max_execution_batch_size": WRAPPERS + "Int64Value",
    },
    "SSLConfig": {
        "server_key": "string",
        "server_cert": "string",
        "custom_ca": "string",
        "client_verify": "bool",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": f".{PACKAGE}.PrometheusConfig"},
}


def build(messages: Messages, modules: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """A pool with `messages`, and their classes by name; `modules` are the pb2 modules whose messages they use.

    The pool is of our own, so that a later package's messages cannot clash.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in modules:
        _add(pool, module.DESCRIPTOR)
    pool.AddSerializedFile(_file(messages, modules).SerializeToString())
    names = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in messages}
    return pool, {name: message_factory.GetMessageClass(found) for name, found in names.items()}


def _file(messages: Messages, modules: Sequence[Any]) -> Any:
    """The messages as one .proto file."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/config.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in modules],
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            repeated = kind.startswith("repeated ")
            kind = kind.removeprefix("repeated ")
            entry = message.field.add(
                name=field, number=number, label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            )
            if kind in _SCALARS:
                entry.type = _SCALARS[kind]
            else:
                entry.type, entry.type_name = _FIELD.TYPE_MESSAGE, kind
    return file


def _add(pool: Any, file: Any) -> None:
    """Add a file, and before it those that it needs."""
    for needed in file.dependencies:
        _add(pool, needed)
    pool.AddSerializedFile(file.serialized_pb)


_, _CLASSES = build(MESSAGES, [wrappers_pb2])
BatchingParameters: Any = _CLASSES["BatchingParameters"]
SSLConfig: Any = _CLASSES["SSLConfig"]
MonitoringConfig: Any = _CLASSES["MonitoringConfig"]
