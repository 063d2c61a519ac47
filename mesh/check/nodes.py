"""Reading YAML whose shape can't be trusted: a field of the wrong type reads as absent.

The schema check reports such fields; the other checks only must not fall over them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mesh.resources import Map, Position, Seq, position

UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NOWHERE = Position(Path("-"), 1)
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def child(node: Any, *keys: str) -> Map:
    """The mapping at a path of keys, else an empty one."""
    for key in keys:
        node = node.get(key) if isinstance(node, Map) else None
    return node if isinstance(node, Map) else Map(_NOWHERE)


def has(node: Map, key: str) -> bool:
    """Whether a field is set: null counts as unset, as in Kubernetes."""
    return node.get(key) is not None


def maps(node: Any, *keys: str) -> list[Map]:
    """The mappings in the list at a path of keys."""
    found = child(node, *keys[:-1]).get(keys[-1])
    return [item for item in found if isinstance(item, Map)] if isinstance(found, Seq) else []


def texts(node: Any, *keys: str) -> list[tuple[str, Position]]:
    """The strings in the list at a path of keys, with their positions."""
    found = child(node, *keys[:-1]).get(keys[-1])
    if not isinstance(found, Seq):
        return []
    return [(item, at) for item, at in zip(found, found.item_at, strict=True) if isinstance(item, str)]


def text(node: Any, *keys: str) -> str:
    """The string at a path of keys, else ''."""
    found = child(node, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, str) else ""


def number(node: Any, *keys: str) -> float | None:
    """The number at a path of keys."""
    found = child(node, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def labels(node: Any, *keys: str) -> dict[str, str]:
    """A mapping of labels."""
    return {key: str(value) for key, value in child(node, *keys).items()}


def at(node: Map | Seq, key: str | int) -> Position:
    """Where a field stands, or its parent where it is absent."""
    return position(node, key)


def duration_s(value: str) -> float | None:
    """Seconds of a Go duration such as 1h30m or 0.5s; None where it is none."""
    parts = _PART.findall(value)
    if not parts or "".join(n + u for n, u in parts) != value.removeprefix("+"):
        return None
    return sum(float(n) * UNITS_S[u] for n, u in parts)


def walk(node: Any) -> Iterator[Map]:
    """Every mapping in a tree, itself included."""
    if isinstance(node, Map):
        yield node
    values = node.values() if isinstance(node, Map) else node if isinstance(node, Seq) else ()
    for value in values:
        yield from walk(value)
