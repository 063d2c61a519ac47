"""The weights of a running mesh, as a kustomize component in a folder of its own that a rollout edits.

    kustomization.yaml   the component; the mesh follows it, so a changed weight is live in about 0.3 s
    mesh.json            where the running mesh's Envoy and its relay answer

The folder is applied on top of the files that the mesh serves. They stay as they are.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mesh.resources import MeshError
from mesh.run.envoy import Admin
from mesh.stack import SERVING, SERVING_PORT

COMPONENT: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
# The subsets in the order of the routes in istio/base/serving/virtual-service-tf-serving-80-20.yaml.
SUBSETS = ("v1", "v2")


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """What mesh.json says: Envoy's administration socket, and the relay's HTTP side."""

    admin: str
    relay: str


class RolloutFolder:
    """One such folder. Its files are replaced whole, so that nobody reads half of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """A component that changes nothing yet; what a rollout of an earlier mesh left here is gone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("mesh.json", "state.json", "command"):
            (self.folder / name).unlink(missing_ok=True)
        replace(self.folder / "kustomization.yaml", yaml.safe_dump(COMPONENT, sort_keys=False))

    def announce(self, running: RunningMesh) -> None:
        """The mesh runs: say where."""
        replace(self.folder / "mesh.json", json.dumps(asdict(running)))

    def running(self) -> RunningMesh:
        """Where the mesh runs that serves this folder. Raises MeshError."""
        try:
            found = json.loads((self.folder / "mesh.json").read_text())
            return RunningMesh(str(found["admin"]), str(found["relay"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise MeshError(
                f"{self.folder}: no mesh serves this folder; `sightline up` serves runs/up/rollout"
            ) from None

    def set_weight(self, percent: int) -> None:
        """v2's share of the frames that no header sends elsewhere."""
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/spec/http/1/name", "value": "weighted"}  # the rule that takes the frames
        ]
        for index, (subset, weight) in enumerate(zip(SUBSETS, (100 - percent, percent), strict=True)):
            route = f"/spec/http/1/route/{index}"
            operations.append({"op": "test", "path": f"{route}/destination/subset", "value": subset})
            operations.append({"op": "add", "path": f"{route}/weight", "value": weight})
        target = {"kind": "VirtualService", "name": SERVING}
        patch = {"target": target, "patch": yaml.safe_dump(operations, sort_keys=False)}
        replace(
            self.folder / "kustomization.yaml",
            yaml.safe_dump(COMPONENT | {"patches": [patch]}, sort_keys=False),
        )


def with_rollout(components: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """The components with the folder where it belongs: on top of other weights, and below the faults, which may copy
    the split that they find."""
    first = next((i for i, one in enumerate(components) if one.parent.name == "faults"), len(components))
    return (*components[:first], folder, *components[first:])


def served_weight(admin: Admin) -> int | None:
    """v2's share, in percent, of the route that Envoy uses now; None where there is no such route.

    Raises OSError, ValueError or http.client.HTTPException when Envoy does not answer.
    """
    dump = json.loads(admin.get("/config_dump?resource=dynamic_route_configs"))
    for config in dump.get("configs", []):
        found = config.get("route_config", {})
        if found.get("name") != str(SERVING_PORT):
            continue
        for host in found.get("virtual_hosts", []):
            for route in host.get("routes", []):
                if route.get("name") == "weighted":
                    return _share(route.get("route", {}))
    return None


def _share(route: dict[str, Any]) -> int:
    """Of a RouteAction: Envoy's weights need not add up to 100."""
    clusters = route.get("weighted_clusters", {}).get("clusters") or [
        {"name": route.get("cluster", ""), "weight": 1}
    ]
    weights = {
        str(one["name"]).split("|")[2]: int(one.get("weight", 0)) for one in clusters if "|" in one["name"]
    }
    return round(100 * weights.get(SUBSETS[1], 0) / max(1, sum(weights.values())))


GONE = (OSError, ValueError, http.client.HTTPException)  # what asking an Envoy that is away raises


def replace(path: Path, text: str) -> None:
    """Put a file in place whole, and on the disk before its name is."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
