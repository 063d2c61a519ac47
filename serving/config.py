"""What to serve: a ModelServerConfig from flags, a file or a reload request, with TF Serving's checks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.config_protos import MonitoringConfig
from serving.errors import Code, ServingError, invalid

log = logging.getLogger(__name__)

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


def read_model_config_file(path: str) -> tuple[ModelConfig, ...]:
    """The models of a --model_config_file; raises ServingError."""
    return from_proto(read_text_proto(path, model_server_config_pb2.ModelServerConfig()))


def single_model(name: str, base_path: str) -> tuple[ModelConfig, ...]:
    """The model of --model_name and --model_base_path; raises ServingError."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return from_proto(config)


def from_proto(config: Any) -> tuple[ModelConfig, ...]:
    """The models of a ModelServerConfig message; raises ServingError."""
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("ModelServer does not yet support custom model config.")
    models: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name in models:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        models[entry.name] = _model(entry)
    return tuple(models.values())


def _model(entry: Any) -> ModelConfig:
    platform = entry.model_platform or (
        PLATFORM if entry.model_type == model_server_config_pb2.TENSORFLOW else ""
    )
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if platform != PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
    if not entry.base_path.startswith("/") and "://" not in entry.base_path:
        raise invalid(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
        )
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
