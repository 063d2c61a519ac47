"""Patches on objects: merge patches and JSON 6902 operations, keeping the position of what they bring."""

from __future__ import annotations

import copy
from typing import Any

from mesh.resources import Map, MeshError, Position, Resource, Seq, position


def merge(into: Map, patch: Map, lists: bool) -> None:
    """JSON merge patch: null removes, mappings merge, the rest replaces; lists only where `lists`."""
    for key, value in patch.items():
        at = position(patch, key)
        if key.startswith("$"):
            raise MeshError(f"{at}: the directive {key} is not supported here; run kubectl kustomize")
        if value is None:
            into.pop(key, None)
        elif isinstance(value, Map) and isinstance(into.get(key), Map):
            merge(into[key], value, lists)
        elif isinstance(value, Seq) and not lists:
            raise MeshError(f"{at}: kustomize merges this list by its keys; run kubectl kustomize")
        else:
            into.put(key, copy.deepcopy(value), at)


def operate(resource: Resource, operation: Any, at: Position) -> None:
    """One JSON 6902 operation: add, replace, remove, copy or test."""
    if not isinstance(operation, Map) or not str(operation.get("path", "")).startswith("/"):
        raise MeshError(f"{at}: expected an operation with op and a path that starts with /")
    name = operation.get("op")
    keys = _keys(str(operation["path"]))
    node: Any = resource.body
    for key in keys[:-1]:
        node = _child(node, key, at, resource)
    value = copy.deepcopy(operation.get("value"))
    if name == "copy":
        name, value = "add", copy.deepcopy(_at_path(resource, str(operation.get("from", "")), at))
    if name == "add" and isinstance(node, Map):
        node.put(keys[-1], value, at)
    elif name == "add" and isinstance(node, Seq):
        where = len(node) if keys[-1] == "-" else _index(keys[-1], len(node) + 1, at)
        node.insert(where, value)
        node.item_at.insert(where, at)
    elif name in {"replace", "remove", "test"}:
        found = _child(node, keys[-1], at, resource)
        if name == "test" and found != value:
            raise MeshError(
                f"{at}: test failed on {resource}: {operation['path']} is {found!r}, not {value!r}"
            )
        if name != "test":
            _replace_or_remove(node, keys[-1], value, at, remove=name == "remove")
    else:
        raise MeshError(f"{at}: op {name!r}: expected add, replace, remove, copy or test")


def _replace_or_remove(node: Any, key: str, value: Any, at: Position, remove: bool) -> None:
    if isinstance(node, Map):
        if remove:
            del node[key]
        else:
            node.put(key, value, at)
        return
    index = _index(key, len(node), at)
    if remove:
        del node[index], node.item_at[index]
    else:
        node[index], node.item_at[index] = value, at


def _at_path(resource: Resource, pointer: str, at: Position) -> Any:
    """What stands at a JSON pointer."""
    node: Any = resource.body
    for key in _keys(pointer):
        node = _child(node, key, at, resource)
    return node


def _keys(pointer: str) -> list[str]:
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/")]


def _child(node: Any, key: str, at: Position, resource: Resource) -> Any:
    if isinstance(node, Map) and key in node:
        return node[key]
    if isinstance(node, Seq):
        return node[_index(key, len(node), at)]
    raise MeshError(f"{at}: {resource} has no {key!r} on this path")


def _index(key: str, length: int, at: Position) -> int:
    if not key.isdigit() or int(key) >= length:
        raise MeshError(f"{at}: {key!r} is no position in a list of {length}")
    return int(key)
