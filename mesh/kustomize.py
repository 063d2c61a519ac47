"""The part of kustomize that `istio/` uses, so that a laptop needs no kubectl.

Resources, components, patches (merge and JSON 6902) and namespace. Anything else in a kustomization is an
error: whoever needs it runs `kubectl kustomize` and gives its output. A merge patch replaces lists, as
kustomize does for custom resources; on kinds where it merges lists by key, a list in the patch is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.patches import merge, operate
from mesh.resources import (
    Map,
    MeshError,
    Position,
    Resource,
    Seq,
    load_documents,
    load_file,
    position,
    read_text,
    read_written,
)

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
FIELDS = {"apiVersion", "kind", "metadata", "resources", "components", "patches", "namespace"}
TARGET_FIELDS = {"group", "version", "kind", "name", "namespace"}
CLUSTER_SCOPED = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
}
MAX_DEPTH = 20  # of kustomizations that name kustomizations
CUSTOM_GROUPS = ("istio.io", "gateway.networking.k8s.io", "monitoring.coreos.com", "keda.sh")


@dataclass
class Loaded:
    """Objects, and every file that was read for them (also those of a kustomization that failed)."""

    resources: list[Resource] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)


def load(
    paths: Iterable[Path | str], components: Sequence[Path | str] = (), loaded: Loaded | None = None
) -> list[Resource]:
    """The objects of YAML files and folders, with `components` (kustomize components) applied in order.

    A folder with a kustomization is built; of another folder every *.yaml and *.yml below it is read. Pass
    `loaded` to learn which files were read, also when this raises. Raises MeshError ("file:line: what").
    """
    loaded = loaded if loaded is not None else Loaded()
    for path in map(Path, paths):
        if path.is_dir() and not find_file(path):
            files = sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"} and p.is_file())
            if not files:
                raise MeshError(f"{path}: no kustomization and no YAML file in this folder")
            for file in files:
                _add_file(file, loaded)
        elif path.is_dir():
            _build(path, loaded, 0)
        else:
            _add_file(path, loaded)
    for path in map(Path, components):
        _build(path, loaded, 0)
    return loaded.resources


def find_file(folder: Path) -> Path | None:
    """The folder's kustomization file, if it has one."""
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def _add_file(path: Path, loaded: Loaded) -> None:
    loaded.files.add(path)
    for resource in load_file(path):
        _add(resource, loaded)


def _add(resource: Resource, loaded: Loaded) -> None:
    same = next((r for r in loaded.resources if _identity(r) == _identity(resource)), None)
    if same is not None:
        raise MeshError(f"{resource.at}: {resource} is already defined at {same.at}")
    loaded.resources.append(resource)


def _identity(resource: Resource) -> tuple[str, str, str, str]:
    return resource.group, resource.kind, resource.namespace, resource.name


def _build(folder: Path, loaded: Loaded, depth: int) -> None:
    """Add a kustomization's resources to `loaded`; its components, patches and namespace work on them."""
    file = find_file(folder)
    if file is None:
        raise MeshError(f"{folder}: not a folder with a kustomization.yaml")
    if depth > MAX_DEPTH:
        raise MeshError(f"{file}: kustomizations nested deeper than {MAX_DEPTH}; does it name itself?")
    loaded.files.add(file)
    spec = next(iter(load_documents(read_text(file), file)), None)
    if not isinstance(spec, Map):
        raise MeshError(f"{file}:1: expected a kustomization")
    _refuse_unknown(spec, FIELDS, "a kustomization")
    # A component works on everything gathered so far; a kustomization only on what it brings itself.
    own = loaded if spec.get("kind") == "Component" else Loaded(files=loaded.files)
    for entry, at in _strings(spec, "resources"):
        if (path := folder / entry).is_dir():
            _build(path, own, depth + 1)
        else:
            _exists(path, at)
            _add_file(path, own)
    for entry, _ in _strings(spec, "components"):
        _build(folder / entry, own, depth + 1)
    for patch, at in _items(spec, "patches"):
        _apply(patch, at, folder, own)
    if namespace := spec.get("namespace"):
        for resource in own.resources:
            if resource.kind not in CLUSTER_SCOPED:
                resource.metadata["namespace"] = str(namespace)
    if own is not loaded:
        for resource in own.resources:
            _add(resource, loaded)


def _apply(entry: Any, at: Position, folder: Path, loaded: Loaded) -> None:
    """One entry of `patches`: `path` or inline `patch`, on `target` or on the object that it names itself."""
    if not isinstance(entry, Map):
        raise MeshError(f"{at}: expected a patch with path or patch")
    _refuse_unknown(entry, {"path", "patch", "target"}, "a patch")
    target = entry.get("target")
    if target is not None and not isinstance(target, Map):
        raise MeshError(f"{position(entry, 'target')}: expected a target with kind and name")
    for body in _patch_bodies(entry, at, folder, loaded):
        if isinstance(body, Seq):
            if target is None:
                raise MeshError(f"{body.at}: a JSON 6902 patch needs a target")
            for resource in _targets(target, loaded):
                for operation, where in zip(body, body.item_at, strict=True):
                    operate(resource, operation, where)
        elif isinstance(body, Map):
            patched = _targets(target if target is not None else _own_target(body), loaded)
            for resource in patched:
                _merge_object(resource, body, loaded)
        else:
            raise MeshError(f"{at}: expected a merge patch or a list of JSON 6902 operations")


def _patch_bodies(entry: Map, at: Position, folder: Path, loaded: Loaded) -> list[Any]:
    if "path" in entry:
        path = folder / str(entry["path"])
        _exists(path, position(entry, "path"))
        loaded.files.add(path)
        return [body for body in load_documents(read_written(path), path) if body is not None]
    if "patch" not in entry:
        raise MeshError(f"{at}: a patch needs path or patch")
    where = position(entry, "patch")
    return [
        body for body in load_documents(str(entry["patch"]), where.path, where.line + 1) if body is not None
    ]


def _own_target(body: Map) -> Map:
    resource = Resource(body)
    target = Map(body.at)
    group, _, version = resource.api_version.rpartition("/")
    target.put("group", re.escape(group), body.at)  # a Gateway of Istio's is not the Gateway API's
    target.put("version", re.escape(version), body.at)
    target.put("kind", re.escape(resource.kind), body.at)
    target.put("name", re.escape(resource.name), body.at)
    return target


def _targets(target: Map, loaded: Loaded) -> list[Resource]:
    """The objects a target selects; kind, name and namespace are anchored expressions, as in kustomize."""
    _refuse_unknown(target, TARGET_FIELDS, "a patch's target")

    def fits(resource: Resource) -> bool:
        group, _, version = resource.api_version.rpartition("/")
        values = {"group": group, "version": version, "kind": resource.kind, "name": resource.name}
        values["namespace"] = resource.namespace
        return all(re.fullmatch(str(want), values[key]) for key, want in target.items())

    found = [resource for resource in loaded.resources if fits(resource)]
    if not found:
        wanted = ", ".join(f"{key} {value}" for key, value in target.items())
        raise MeshError(f"{target.at}: this patch fits no object ({wanted})")
    return found


def _merge_object(resource: Resource, patch: Map, loaded: Loaded) -> None:
    if patch.get("$patch") == "delete":
        loaded.resources.remove(resource)
        return
    merge(resource.body, patch, lists=resource.group.endswith(CUSTOM_GROUPS))


def _strings(spec: Map, key: str) -> list[tuple[str, Position]]:
    return [(str(item), at) for item, at in _items(spec, key)]


def _items(spec: Map, key: str) -> list[tuple[Any, Position]]:
    found = spec.get(key) or Seq(spec.at)
    if not isinstance(found, Seq):
        raise MeshError(f"{position(spec, key)}: {key} must be a list")
    return list(zip(found, found.item_at, strict=True))


def _exists(path: Path, at: Position) -> None:
    if not path.is_file():
        raise MeshError(f"{at}: {path} is not there")


def _refuse_unknown(node: Map, known: set[str], what: str) -> None:
    for key in node:
        if key not in known:
            expected = ", ".join(sorted(known))
            raise MeshError(
                f"{position(node, key)}: {key} of {what} is not supported here ({expected}); "
                "run kubectl kustomize"
            )
