"""What to serve: a ModelServerConfig from flags, a file or a reload request, with TF Serving's checks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.config_protos import MonitoringConfig
from serving.errors import Code, ServingError, invalid

log = logging.getLogger(__name__)

ModelServerConfig: Any = model_server_config_pb2.ModelServerConfig
PLATFORM = "tensorflow"
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class ModelConfig:
    """One model: where its version folders are, which of them to serve, and names for versions."""

    name: str
    base_path: str
    policy: Literal["latest", "all", "specific"] = "latest"
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)


def read_text_proto(path: str, message: Any, pool: Any = None) -> Any:
    """Parse a text-format file into `message`, Any fields by the messages in `pool`; raises ServingError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from None
    except UnicodeDecodeError:
        raise invalid(f"Invalid protobuf file: '{path}'") from None
    try:
        return text_format.Parse(text, message, descriptor_pool=pool)
    except text_format.ParseError as error:
        log.error("Error parsing text-format %s: %s", message.DESCRIPTOR.full_name, error)
        raise invalid(f"Invalid protobuf file: '{path}'") from None


def read_model_config_file(
    path: str, served: Collection[str] | None = None
) -> tuple[ModelConfig, ...] | None:
    """The models of a --model_config_file; `served` as in `from_proto`. Raises ServingError."""
    return from_proto(read_text_proto(path, ModelServerConfig()), served)


def single_model(name: str, base_path: str) -> tuple[ModelConfig, ...] | None:
    """The model of --model_name and --model_base_path; raises ServingError."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return from_proto(config)


def from_proto(config: Any, served: Collection[str] | None = None) -> tuple[ModelConfig, ...] | None:
    """The models of a ModelServerConfig message, None when it says nothing of models.

    `served` are the models of the list before, None: there was none. Raises ServingError. An empty config starts a
    server without models, to which a list may come later, but does not take away those of a list.
    """
    if served is not None and config.WhichOneof("config") != "model_config_list":
        raise ServingError(
            Code.FAILED_PRECONDITION,
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to "
            "another.",
        )
    if config.WhichOneof("config") is None:
        return None
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("ModelServer does not yet support custom model config.")
    entries = config.model_config_list.config
    for name, count in Counter(entry.name for entry in entries).items():
        if count > 1:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
    for entry in entries:
        if not entry.base_path.startswith("/") and "://" not in entry.base_path:
            raise invalid(
                f"Expected model {entry.name} to have an absolute path or URI; "
                f"got base_path()={entry.base_path}"
            )
    for entry in entries:
        _check_platform(entry, served or ())
        if entry.HasField("logging_config"):
            raise invalid(
                "No request-logger-creator provided."
            )  # in TF Serving's binary there is none either
    return tuple(map(_model, entries))


def _check_platform(entry: Any, served: Collection[str]) -> None:
    platform = entry.model_platform
    if entry.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if entry.model_type != model_server_config_pb2.TENSORFLOW:
            raise invalid(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
        platform = PLATFORM
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if platform == PLATFORM:
        return
    if entry.name in served:
        raise invalid(
            f"Illegal to change a model's platform. For model {entry.name} platform was {PLATFORM} and new "
            f"platform requested is {platform}"
        )
    raise invalid(f"Model {entry.name} requests unsupported platform {platform}")


def _model(entry: Any) -> ModelConfig:
    policy = entry.model_version_policy
    choice: Any = policy.WhichOneof("policy_choice") or "latest"
    if choice not in ("latest", "all", "specific"):
        raise invalid(
            f"Model {entry.name} asks for the version policy {choice}, which is not supported here."
        )
    return ModelConfig(
        name=entry.name,
        base_path=entry.base_path,
        policy=choice,
        latest=max(policy.latest.num_versions, 1),
        specific=tuple(policy.specific.versions),
        labels=dict(entry.version_labels),
    )


def read_monitoring_config(path: str) -> str | None:
    """The metrics' path that a --monitoring_config_file asks for, or None when it leaves them off."""
    config = read_text_proto(path, MonitoringConfig()).prometheus_config
    return (config.path or DEFAULT_METRICS_PATH) if config.enable else None
