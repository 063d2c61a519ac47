"""Kubernetes YAML, read so that every field remembers the file and line it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAX_NODES = 200_000  # of one file; anchors that multiply stop here
MAX_BYTES = 5_000_000
MAX_DEPTH = 100  # libyaml's composer recurses in C and takes the process down at some 100,000


class MeshError(RuntimeError):
    """What is wrong with the mesh's configuration or its run, in words for the user."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a field stands. `line` and `column` count from 1."""

    path: Path
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Map(dict[str, Any]):
    """A YAML mapping; `at` is its own position, `key_at` that of each key."""

    at: Position
    key_at: dict[str, Position]

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.key_at = {}

    def put(self, key: str, value: Any, at: Position) -> None:
        self[key] = value
        self.key_at[key] = at


class Seq(list[Any]):
    """A YAML sequence; `at` is its own position, `item_at` that of each item."""

    at: Position
    item_at: list[Position]

    def __init__(self, at: Position) -> None:
        super().__init__()
        self.at = at
        self.item_at = []

    def put(self, value: Any, at: Position) -> None:
        self.append(value)
        self.item_at.append(at)


@dataclass(frozen=True, slots=True)
class Resource:
    """One Kubernetes object."""

    body: Map

    @property
    def api_version(self) -> str:
        return str(self.body.get("apiVersion") or "")

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind") or "")

    @property
    def metadata(self) -> Map:
        found = self.body.get("metadata")
        return found if isinstance(found, Map) else Map(self.at)

    @property
    def name(self) -> str:
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "default")

    @property
    def spec(self) -> Map:
        found = self.body.get("spec")
        return found if isinstance(found, Map) else Map(self.at)

    @property
    def at(self) -> Position:
        return self.body.at

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def position(node: Map | Seq, key: str | int) -> Position:
    """The position of `node[key]`, or of the node itself where it has no such entry."""
    if isinstance(node, Map) and isinstance(key, str):
        return node.key_at.get(key, node.at)
    if isinstance(node, Seq) and isinstance(key, int) and -len(node) <= key < len(node):
        return node.item_at[key]
    return node.at


def load_file(path: Path) -> list[Resource]:
    """The objects of one YAML file, empty documents left out, the items of a `kind: List` one by one.

    Raises MeshError ("file:line: what") for a file that can't be read, is empty, isn't YAML, repeats a key, or
    holds something that isn't an object with a kind.
    """
    return load_text(read_written(path), path)


def read_text(path: Path) -> str:
    """The file's text, at most 5 MB."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # a device has no size, and no end
        if len(content) > MAX_BYTES:
            raise MeshError(f"{path}: a YAML file has at most {MAX_BYTES} bytes, this one has more")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MeshError(f"{path}: not UTF-8 text, at byte {error.start}") from None
    except OSError as error:
        raise MeshError(f"{path}: {error.strerror or error}") from None


def read_written(path: Path) -> str:
    """As `read_text`, but an empty file is an error: so is one that an editor is about to write. Kustomize takes it."""
    text = read_text(path)
    if not text:
        raise MeshError(f"{path}: the file is empty; expected Kubernetes objects or a patch")
    return text


def load_text(text: str, path: Path, first_line: int = 1) -> list[Resource]:
    """As `load_file`, for text that starts at `first_line` of `path`."""
    found: list[Resource] = []
    for document in load_documents(text, path, first_line):
        if document is None:
            continue
        if not isinstance(document, Map) or not document.get("kind"):
            at = document.at if isinstance(document, Map | Seq) else Position(path, first_line)
            raise MeshError(f"{at}: expected a Kubernetes object with apiVersion and kind")
        if document["kind"] == "List" and isinstance(document.get("items"), Seq):
            found += [Resource(item) for item in document["items"] if isinstance(item, Map)]
        else:
            found.append(Resource(document))
    return found


def load_documents(text: str, path: Path, first_line: int = 1) -> Iterator[Any]:
    """The YAML documents of a text as Map, Seq and scalars."""
    loader_type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = loader_type(text)
    try:
        if _may_be_deep(text):
            _refuse_deep(text, path, first_line, loader_type)
        while loader.check_node():
            node = loader.get_node()
            yield None if node is None else _Builder(loader, path, first_line).build(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first_line + (mark.line if mark else 0)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise MeshError(f"{path}:{line}: not YAML: {problem}") from None
    except RecursionError:
        raise MeshError(f"{path}:{first_line}: nested too deep") from None
    finally:
        loader.dispose()


def _may_be_deep(text: str) -> bool:
    """Each level takes a bracket, or at least a column of indentation."""
    return (
        text.count("[") + text.count("{") > MAX_DEPTH
        or max(map(len, text.splitlines()), default=0) > 10 * MAX_DEPTH
    )


def _refuse_deep(text: str, path: Path, first_line: int, loader_type: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=loader_type):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = first_line + (event.start_mark.line if event.start_mark else 0)
            raise MeshError(f"{path}:{line}: nested too deep")


class _Builder:
    """Turns PyYAML's nodes into Map and Seq, with Kubernetes' types: a date stays a string."""

    def __init__(self, loader: Any, path: Path, first_line: int) -> None:
        self.loader, self.path, self.first_line = loader, path, first_line
        self.nodes = 0

    def at(self, node: yaml.Node) -> Position:
        mark = node.start_mark
        return Position(self.path, self.first_line + mark.line, mark.column + 1)

    def build(self, node: yaml.Node) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise MeshError(f"{self.at(node)}: more than {MAX_NODES} values in one document")
        if isinstance(node, yaml.MappingNode):
            return self._map(node)
        if isinstance(node, yaml.SequenceNode):
            items = Seq(self.at(node))
            for item in node.value:
                items.put(self.build(item), self.at(item))
            return items
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        try:
            return self.loader.construct_object(node)
        except ValueError as error:  # "!!int x"
            raise MeshError(f"{self.at(node)}: {error}") from None

    def _map(self, node: yaml.MappingNode) -> Map:
        fields = Map(self.at(node))
        merged: list[Map] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += self._merged(value_node)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise MeshError(f"{self.at(key_node)}: a key must be a plain string")
            key = str(key_node.value)
            if key in fields:
                raise MeshError(f"{self.at(key_node)}: {key} stands here twice")
            fields.put(key, self.build(value_node), self.at(key_node))
        for (
            source
        ) in merged:  # the first one that has a key gives its value; an own key comes before them all
            for key, value in source.items():
                if key not in fields:
                    fields.put(key, value, source.key_at[key])
        return fields

    def _merged(self, node: yaml.Node) -> list[Map]:
        """What `<<` brings: a mapping, or several."""
        built = self.build(node)
        found = built if isinstance(built, Seq) else [built]
        if not all(isinstance(item, Map) for item in found):
            raise MeshError(f"{self.at(node)}: << takes a mapping or a list of mappings")
        return list(found)
