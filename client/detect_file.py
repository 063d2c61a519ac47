"""The file of `sightline detect --config`: a fleet of cameras in YAML.

relay: 127.0.0.1:8600  # options of `sightline detect`, `_` for `-`; those of a camera are the default for all
max_age: 0.3
jsonl: results.jsonl
cameras:
  - source: rtsp://user:${DOOR_PASSWORD}@door/stream
    id: door
    classes: [person]
    lines: {gate: [[0.1, 0.8], [0.9, 0.8]]}
"""

from __future__ import annotations

import difflib
import math
import os
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from client.detect_config import CAMERA_OPTIONS, FIELDS, CameraConfig, DetectConfig, Points, configure
from client.sources import redact

MAX_BYTES = 1 << 20  # thousands of cameras fit
_NAMES = {name: option for option, name in FIELDS.items()}  # field -> option
_CAMERA_OPTIONS = sorted(_NAMES.get(name, name) for name in CAMERA_OPTIONS)
_OPTIONS = sorted(
    {"ca", "token", *_CAMERA_OPTIONS, *(_NAMES.get(f.name, f.name) for f in fields(DetectConfig))}
    - {"security", "source", "id"}
)
_TYPES = {
    "ca": str,
    "token": str,
    **typing.get_type_hints(DetectConfig),
    **typing.get_type_hints(CameraConfig),
}
_VARIABLE = re.compile(r"\$\{(\w+)\}")

Option = tuple[int, yaml.Node]  # its line in the file, from 1, and its value


class ConfigError(ValueError):
    """The file is wrong: one line with the place in the file, what was expected, and what is there."""


def load(path: Path, overrides: Mapping[str, Any]) -> DetectConfig:
    """Read the file. `overrides`: options that take the place of what it says for the run and for all cameras.

    `${NAME}` in a text is the environment's variable of that name, so that passwords need not be in the file.
    Paths are relative to the working directory.

    Raises:
        ConfigError: see there.
    """
    reader = _Reader(path)
    top = reader.mapping(reader.root, _OPTIONS)
    line, listed = top.pop("cameras", (1, None))
    if not isinstance(listed, yaml.SequenceNode) or not listed.value:
        raise reader.error(line, "cameras: expected a list of cameras")
    options = reader.values(top) | dict(overrides)
    cameras, ids = [], set[str]()
    for node in listed.value:
        camera = reader.mapping(node, _CAMERA_OPTIONS)
        if "source" not in camera:
            raise reader.error(node.start_mark.line + 1, "source: expected one for each camera")
        cameras.append(reader.values(camera))
        if camera_id := cameras[-1].get("id"):
            if camera_id in ids:
                raise reader.error(
                    camera["id"][0], f"id: expected another for each camera, got {camera_id} again"
                )
            ids.add(camera_id)
        with reader.at(top | camera):
            configure(cameras[-1:], {name: options[name] for name in options.keys() & set(_CAMERA_OPTIONS)})
    with reader.at(top):
        return configure(cameras, options)


class _Reader:
    """The YAML nodes of a file, checked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode()
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: expected a text in UTF-8") from None
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes")
        try:
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
                raise ConfigError(
                    f"{path}: expected no aliases (*name); what all cameras share goes above them"
                )
            self._loader = yaml.SafeLoader(text)
            self.root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self.error(mark.line + 1 if mark else 1, f"no YAML: {error.problem}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError(f"{path}: no YAML: {type(error).__name__}") from None

    def error(self, line: int, message: str) -> ConfigError:
        """What is wrong in a line."""
        return ConfigError(f"{self._path}:{line}: {message}")

    @contextmanager
    def at(self, options: Mapping[str, Option]) -> Iterator[None]:
        """Tell where in the file the option is that a ValueError names first."""
        try:
            yield
        except ValueError as error:
            name = str(error).partition(":")[0].strip("-")
            line = options.get(_NAMES.get(name, name), (1, None))[0]
            raise self.error(line, str(error)) from None

    def mapping(self, node: yaml.Node | None, allowed: list[str]) -> dict[str, Option]:
        """A mapping's options, each allowed and there once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(
                node.start_mark.line + 1 if node else 1, "expected options, as in `relay: host:port`"
            )
        options: dict[str, Option] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value)
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, 1)
                hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(allowed)}"
                raise self.error(line, f"unknown option {name!r}: {hint}")
            if name in options:
                raise self.error(line, f"{name}: expected once, is here for the second time")
            options[name] = (line, value)
        return options

    def values(self, options: Mapping[str, Option]) -> dict[str, Any]:
        """The options' values, of the types that they must have."""
        values = {}
        for name, (line, node) in options.items():
            try:
                value = self._loader.construct_object(node, deep=True)
                values[name] = _typed(_TYPES[FIELDS.get(name, name)], value)
            except yaml.YAMLError:
                raise self.error(line, f"{name}: a value of a kind that is not taken") from None
            except ValueError as error:
                raise self.error(line, f"{name}: {error}") from None
        return values


def _typed(kind: Any, value: Any) -> Any:
    """The value as a field of that type takes it. Raises ValueError: what was expected, and what is there."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and (isinstance(value, str) or (number and isinstance(value, int))):
        return _VARIABLE.sub(_variable, str(value))
    if kind is int and number and isinstance(value, int):
        return value
    if kind in (float, float | None) and number and math.isfinite(value):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, list):
        return tuple(_typed(str, item) for item in value)
    if kind == Mapping[str, Points] and isinstance(value, dict):
        return {str(name): _points(points) for name, points in value.items()}
    raise ValueError(f"expected {_KINDS.get(kind, 'a value')}, got {_told(value)}")


_KINDS: dict[Any, str] = {
    bool: "true or false",
    str: "a text",
    int: "a whole number",
    float: "a number",
    float | None: "a number",
    tuple[str, ...]: "a list, as in [person, car]",
    Mapping[str, Points]: "points by name, as in {gate: [[0.1, 0.8], [0.9, 0.8]]}",
}


def _points(value: Any) -> Points:
    try:
        return tuple((_typed(float, x), _typed(float, y)) for x, y in value)
    except (TypeError, ValueError):
        raise ValueError(f"expected points, as in [[0.1, 0.8], [0.9, 0.8]], got {_told(value)}") from None


def _variable(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise ValueError(f"expected the environment to hold {name}")
    return os.environ[name]


def _told(value: Any) -> str:
    """A value for people, without what may be a secret in it."""
    if isinstance(value, str):
        return repr(redact(value)[:60])
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
