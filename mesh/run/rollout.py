"""The weights of a running mesh, as a kustomize component in a folder of its own that a rollout edits.

    kustomization.yaml          the component; the mesh follows it, so a changed weight is live in about 0.3 s
    shadow/kustomization.yaml   another one: a shadow's frames go to the candidate
    mesh.json                   where the running mesh's Envoy and its relay answer, and its subsets

Both are applied on top of the files that the mesh serves. They stay as they are.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mesh.resources import MeshError, Resource
from mesh.run.envoy import Admin
from mesh.stack import NAMESPACE, SERVING, SERVING_PORT

COMPONENT: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
RULE = "weighted"  # the rule that splits the frames
SHADOW = "shadow"
# What a relay's shadow has besides the header `version` (client/relay/shadow.py).
SHADOW_HEADER = "sightline-shadow"


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """What mesh.json says: Envoy's administration socket, the relay's HTTP side, and the subsets that share the frames,
    in the order of the VirtualService."""

    admin: str
    relay: str
    subsets: tuple[str, ...]


class RolloutFolder:
    """One such folder. Its files are replaced whole, so that nobody reads half of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def components(self) -> tuple[Path, Path]:
        """What the mesh applies: the weights, and the shadow's way."""
        return self.folder, self.folder / SHADOW

    def prepare(self) -> None:
        """Components that change nothing yet; what a rollout of an earlier mesh left here is gone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("mesh.json", "state.json", "command"):
            (self.folder / name).unlink(missing_ok=True)
        for component in self.components:
            component.mkdir(mode=0o700, exist_ok=True)
            _write(component)

    def announce(self, admin: Path, relay: str, subsets: tuple[str, ...]) -> None:
        """The mesh runs: say where, and between which subsets a rollout may go."""
        replace(self.folder / "mesh.json", json.dumps(asdict(RunningMesh(str(admin), relay, subsets))))

    def running(self) -> RunningMesh:
        """Where the mesh runs that serves this folder. Raises MeshError."""
        try:
            found = json.loads((self.folder / "mesh.json").read_text())
            return RunningMesh(str(found["admin"]), str(found["relay"]), tuple(found["subsets"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise MeshError(
                f"{self.folder}: no mesh serves this folder; `sightline up` serves runs/up/rollout"
            ) from None

    def check(self, to: str) -> tuple[str, ...]:
        """The subsets, of which `to` must be one. Raises MeshError where no rollout may go there."""
        subsets = self.running().subsets
        if len(subsets) != 2 or to not in subsets:
            raise MeshError(
                f"--to: expected one of two subsets that share the rule {RULE!r} of VirtualService {SERVING}, which "
                f"has {', '.join(subsets) or 'none'}; got {to!r}"
            )
        return subsets

    def set_weight(self, to: str, percent: int) -> None:
        """The share of the subset `to` in the frames that no header sends elsewhere; and shadows go to it.

        Raises MeshError where no rollout may go there.
        """
        subsets = self.check(to)
        # The mesh may see the one file before the other: the shadow's way is there when the weight is.
        _write(self.folder / SHADOW, {"op": "add", "path": "/spec/http/0", "value": _shadow_rule(to)})
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/spec/http/1/name", "value": RULE}  # the rule that takes the frames
        ]
        for index, subset in enumerate(subsets):
            route = f"/spec/http/1/route/{index}"
            weight = percent if subset == to else 100 - percent
            operations.append({"op": "test", "path": f"{route}/destination/subset", "value": subset})
            operations.append({"op": "add", "path": f"{route}/weight", "value": weight})
        _write(self.folder, *operations)


def _write(component: Path, *operations: dict[str, Any]) -> None:
    """A component that patches the VirtualService; without operations, one that changes nothing."""
    target = {"kind": "VirtualService", "name": SERVING}
    patch = {"target": target, "patch": yaml.safe_dump(list(operations), sort_keys=False)}
    found = COMPONENT | ({"patches": [patch]} if operations else {})
    replace(component / "kustomization.yaml", yaml.safe_dump(found, sort_keys=False))


def _shadow_rule(to: str) -> dict[str, Any]:
    """Before all others, so that a shadow reaches the candidate whichever of the subsets that is."""
    return {
        "name": SHADOW,
        "match": [{"port": SERVING_PORT, "headers": {SHADOW_HEADER: {"exact": "true"}}}],
        "retries": {"attempts": 0},  # nobody waits for it
        "route": [
            {
                "destination": {
                    "host": f"{SERVING}.{NAMESPACE}.svc.cluster.local",
                    "subset": to,
                    "port": {"number": SERVING_PORT},
                }
            }
        ],
    }


def subsets_of(resources: Iterable[Resource]) -> tuple[str, ...]:
    """Those that the VirtualService's rule splits the frames over, in their order."""
    for resource in resources:
        if (resource.kind, resource.name) == ("VirtualService", SERVING):
            for rule in resource.spec.get("http") or ():
                if rule.get("name") == RULE:
                    return tuple(str(route["destination"].get("subset", "")) for route in rule["route"])
    return ()


def with_rollout(components: tuple[Path, ...], folder: RolloutFolder) -> tuple[Path, ...]:
    """The components with the folder's where they belong: the weights on top of other weights, and below the faults,
    which may copy the split that they find; the shadow's rule on top of all."""
    first = next((i for i, one in enumerate(components) if one.parent.name == "faults"), len(components))
    weights, shadow = folder.components
    return (*components[:first], weights, *components[first:], shadow)


def served_weight(admin: Admin, to: str) -> int | None:
    """A subset's share, in percent, of the route that Envoy uses now; None where there is no such route.

    Raises OSError, ValueError or http.client.HTTPException when Envoy does not answer.
    """
    dump = json.loads(admin.get("/config_dump?resource=dynamic_route_configs"))
    for config in dump.get("configs", []):
        found = config.get("route_config", {})
        if found.get("name") != str(SERVING_PORT):
            continue
        for host in found.get("virtual_hosts", []):
            for route in host.get("routes", []):
                if route.get("name") == RULE:
                    return _share(route.get("route", {}), to)
    return None


def _share(route: dict[str, Any], to: str) -> int:
    """Of a RouteAction: Envoy's weights need not add up to 100."""
    clusters = route.get("weighted_clusters", {}).get("clusters") or [
        {"name": route.get("cluster", ""), "weight": 1}
    ]
    weights = {
        str(one["name"]).split("|")[2]: int(one.get("weight", 0)) for one in clusters if "|" in one["name"]
    }
    return round(100 * weights.get(to, 0) / max(1, sum(weights.values())))


GONE = (OSError, ValueError, http.client.HTTPException)  # what asking an Envoy that is away raises


def replace(path: Path, text: str) -> None:
    """Put a file in place whole, and on the disk before its name is."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
