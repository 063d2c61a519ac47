"""The labels of model versions: what a promotion moves in the file that model servers poll."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from mesh.run.rollout import replace
from model.contract import MODEL_NAME

STABLE, CANARY = "stable", "canary"


def check(path: Path) -> None:
    """Raise ValueError where a promotion could not move `stable` in this --model_config_file."""
    labels = _model(path, _read(path)).version_labels
    if STABLE not in labels or CANARY not in labels or labels[STABLE] == labels[CANARY]:
        found = ", ".join(f"{label} {version}" for label, version in sorted(labels.items())) or "none"
        raise ValueError(f"{path}: expected the labels {STABLE} and {CANARY} on two versions, got {found}")


def promote(path: Path, version: str) -> None:
    """Move `stable` to where `canary` is, which must be the version that was rolled out.

    The file is replaced whole, and its comments are gone. May be called again. Raises ValueError, and leaves the file
    as it is.
    """
    config = _read(path)
    labels = _model(path, config).version_labels
    if str(labels[CANARY]) != version:
        raise ValueError(
            f"{path}: {CANARY} is version {labels[CANARY]}, and version {version} was rolled out: {STABLE} stays. "
            "Correct the file; `sightline rollout start` ends the rollout then"
        )
    labels[STABLE] = labels[CANARY]
    mode = path.stat().st_mode
    replace(path, text_format.MessageToString(config))
    path.chmod(mode)  # the servers may be another user's


def _read(path: Path) -> Any:
    try:
        return text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(f"{path}: expected a ModelServerConfig in text form: {error}") from None


def _model(path: Path, config: Any) -> Any:
    for model in config.model_config_list.config:
        if model.name == MODEL_NAME:
            return model
    raise ValueError(f"{path}: expected a model of the name {MODEL_NAME}")
