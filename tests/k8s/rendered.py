"""The manifests as kustomize renders them, and how to break them on purpose."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mesh.check.kubectl import build_with_kubectl
from mesh.check.nodes import child, labels, maps
from mesh.patches import operate
from mesh.resources import Map, Position, Resource, Seq, load_text

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
HERE = Path(__file__).parent
OVERLAYS = {folder.name: folder for folder in sorted((K8S / "overlays").iterdir())}
COMBINATIONS = {folder.name: folder for folder in sorted((HERE / "combinations").iterdir())}
SCANS = {folder.name: folder for folder in sorted((K8S / "scans").iterdir()) if folder.is_dir()}
ALL = OVERLAYS | COMBINATIONS | SCANS
NAMESPACE = "object-detection"

# Where images are, as the overlays say it: a deployment writes its own there (docs/deploy.md).
REGISTRY: str = yaml.safe_load((K8S / "overlays/production/kustomization.yaml").read_text())["images"][0][
    "newName"
].rpartition("/")[0]

Objects = list[Resource]


@cache
def _render(folder: Path) -> bytes:
    return pickle.dumps(list(build_with_kubectl(folder)))  # to copy them takes ten times as long


def render(name: str) -> Objects:
    """The objects of an overlay, a combination or a scan; the caller may change them."""
    objects: Objects = pickle.loads(_render(ALL[name]))  # noqa: S301  what we have just written
    return objects


def of(objects: Iterable[Resource], kind: str, group: str | None = None) -> Objects:
    return [r for r in objects if r.kind == kind and group in (None, r.group)]


def one(objects: Iterable[Resource], kind: str, name: str) -> Resource:
    """The object of a kind and name. Raises ValueError where there isn't exactly one."""
    (found,) = [r for r in objects if (r.kind, r.name) == (kind, name)]
    return found


def template(workload: Resource) -> Map:
    return child(workload.spec, "template")


def pod_labels(workload: Resource) -> dict[str, str]:
    return labels(template(workload), "metadata", "labels")


def containers(workload: Resource) -> Iterator[Map]:
    """The containers that stay and those that come first."""
    for key in ("containers", "initContainers"):
        yield from maps(template(workload), "spec", key)


def container_ports(workload: Resource) -> dict[str, int]:
    """Port numbers by their names."""
    return {p["name"]: p["containerPort"] for c in containers(workload) for p in maps(c, "ports")}


def selected(workloads: Iterable[Resource], selector: dict[str, str]) -> Objects:
    return [w for w in workloads if selector.items() <= pod_labels(w).items()]


def placed(value: Any) -> Any:
    """Plain YAML values as `mesh.resources` reads them."""
    (found,) = load_text(yaml.safe_dump({"kind": "Value", "apiVersion": "v1", "value": value}), Path("-"))
    return found.body["value"]


def break_(objects: Objects, case: dict[str, Any]) -> None:
    """Apply a case: `target` ("Kind name") with `patch` (JSON 6902 operations), `add` or `remove` of an object."""
    if "add" in case:
        objects += load_text(yaml.safe_dump(case["add"]), Path("-"))
        return
    target = one(objects, *case["target"].split())
    if case.get("remove"):
        objects.remove(target)
        return
    operations = placed(case["patch"])
    assert isinstance(operations, Seq)
    for operation in operations:
        operate(target, operation, Position(Path("-"), 1))
