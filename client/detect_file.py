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
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from client.detect_config import CAMERA_OPTIONS, FIELDS, CameraConfig, DetectConfig, Points, configure
from client.sources import redact

MAX_BYTES = 1 << 20  # thousands of cameras fit
MAX_DEPTH = 8  # of lists in options in lists, two more than any option needs
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
_VARIABLE = re.compile(r"\$\{(?:(\w+)\})?")  # or what begins as one
_BOOL, _NULL, _STR = (f"tag:yaml.org,2002:{name}" for name in ("bool", "null", "str"))

Option = tuple[int, yaml.Node]  # its line in the file, from 1, and its value


class ConfigError(ValueError):
    """The file is wrong: one line with the place in the file, what was expected, and what is there."""


def load(path: Path, overrides: Mapping[str, Any]) -> DetectConfig:
    """Read the file. `overrides`: options that take the place of what it says for the run and for all cameras.

    `${NAME}` in a text is the environment's variable of that name, so that passwords need not be in the file; no
    other `${` may be there. A text is what is written: `id: 0123` is no number.
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
            self._check(text)
            self.root = yaml.compose(text, yaml.SafeLoader)
        except ConfigError:
            raise
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self.error(mark.line + 1 if mark else 1, f"no YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two of "\UFFFFFFFF"
            raise ConfigError(f"{path}: no YAML: {type(error).__name__}") from None

    def _check(self, text: str) -> None:
        """Refuse what no option needs, and what could make the file's values something else than what is seen."""
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise self.error(line, "expected no aliases (*name); what all cameras share goes above them")
            if getattr(event, "tag", None) is not None:
                raise self.error(line, "expected no tags (!name)")
            if depth > MAX_DEPTH:
                raise self.error(line, f"expected at most {MAX_DEPTH} lists in each other")

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
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else _told(key)
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
                values[name] = _typed(_TYPES[FIELDS.get(name, name)], node)
            except ValueError as error:
                raise self.error(line, f"{name}: {error}") from None
        return values


def _typed(kind: Any, node: yaml.Node) -> Any:
    """The value as a field of that type takes it. Raises ValueError: what was expected, and what is there."""
    text: str | None = node.value if isinstance(node, yaml.ScalarNode) else None
    # What stands in quotes is a text only.
    plain = "" if text is None or getattr(node, "style", None) else text
    if kind is bool and node.tag == _BOOL:
        return plain.lower() in ("true", "yes", "on")
    # `jsonl: no` does not ask for a file `no`.
    if kind is str and text is not None and node.tag not in (_NULL, _BOOL):
        return _VARIABLE.sub(_variable, text)
    if kind is int:
        with suppress(ValueError):
            return int(plain)
    if kind in (float, float | None):
        with suppress(ValueError):
            if math.isfinite(number := float(plain)):
                return number
    if kind == tuple[str, ...] and isinstance(node, yaml.SequenceNode):
        return tuple(_typed(str, item) for item in node.value)
    if kind == Mapping[str, Points] and isinstance(node, yaml.MappingNode):
        figures: dict[str, Points] = {}
        for key, points in node.value:
            name = _typed(str, key)
            if name in figures:
                raise ValueError(f"expected {name} once")
            figures[name] = _points(points)
        return figures
    raise ValueError(f"expected {_KINDS.get(kind, 'a value')}, got {_told(node)}")


_KINDS: dict[Any, str] = {
    bool: "true or false",
    str: "a text",
    int: "a whole number",
    float: "a number",
    float | None: "a number",
    tuple[str, ...]: "a list, as in [person, car]",
    Mapping[str, Points]: "points by name, as in {gate: [[0.1, 0.8], [0.9, 0.8]]}",
}


def _points(node: yaml.Node) -> Points:
    with suppress(ValueError):
        return tuple((_typed(float, x), _typed(float, y)) for x, y in map(_items, _items(node)))
    raise ValueError(f"expected points, as in [[0.1, 0.8], [0.9, 0.8]], got {_told(node)}")


def _items(node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError
    return list(node.value)


def _variable(match: re.Match[str]) -> str:
    name = match.group(1)
    if name is None:  # what is there may be a part of a password
        raise ValueError("expected the name of a variable, of letters, digits and _, in ${...}")
    if name not in os.environ:
        raise ValueError(f"expected the environment to hold {name}")
    return os.environ[name]


def _told(node: yaml.Node) -> str:
    """A value for people, without what may be a secret in it."""
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    if node.tag == _NULL:
        return "nothing"
    text = redact(node.value)[:60]
    return repr(text) if node.tag == _STR else text
