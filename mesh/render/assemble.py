"""All roles together: what one Envoy on this machine runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mesh.render.context import Context, Json
from mesh.render.fields import Report
from mesh.render.ingress import ingress
from mesh.render.listeners import inbound, outbound
from mesh.render.mesh_config import MeshDefaults
from mesh.render.tls import LOGS, PLACEHOLDER
from mesh.render.topology import Topology
from mesh.resources import MeshError, Resource

TRANSLATED = (
    *("VirtualService", "DestinationRule", "Gateway", "Sidecar", "EnvoyFilter"),
    *("PeerAuthentication", "AuthorizationPolicy", "RequestAuthentication", "Telemetry"),
)
CLUSTER_KINDS = {  # of Istio's API groups; kinds of other groups are none of the mesh's
    "ServiceEntry": "the local mesh reaches no outside host",
    "ProxyConfig": "one Envoy runs here, with its own options",
    "WorkloadEntry": "workloads come from the endpoints file",
    "WorkloadGroup": "workloads come from the endpoints file",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """Envoy's configuration. Paths in it start with placeholders until `placed` puts the real folders there."""

    listeners: list[Json]
    clusters: list[Json]
    routes: list[Json]
    report: Report

    def placed(self, folder: str, logs: str) -> Rendered:
        """The same with the folders where its files and its access logs are."""

        def place(value: Any) -> Any:
            text = json.dumps(value).replace(PLACEHOLDER, json.dumps(folder)[1:-1])
            return json.loads(text.replace(LOGS, json.dumps(logs)[1:-1]))

        return Rendered(place(self.listeners), place(self.clusters), place(self.routes), self.report)

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets that it asks for."""
        return set(_secrets([*self.listeners, *self.clusters]))


ROLES = ("ingress", "outbound", "inbound")


def assemble(
    resources: list[Resource],
    topology: Topology,
    defaults: MeshDefaults | None = None,
    roles: tuple[str, ...] = ROLES,
) -> Rendered:
    """Translate resources for the given roles.

    Raises MeshError with a line for each field that is used but not translated, or for the first thing that is
    wrong in itself.
    """
    ctx = Context(resources, topology, defaults=defaults or MeshDefaults())
    _check_kinds(ctx)
    listeners: list[Json] = []
    clusters: list[Json] = []
    routes: list[Json] = []
    if topology.gateway and "ingress" in roles:
        made = ingress(ctx, topology.gateway)
        for part, more in zip((listeners, clusters, routes), made, strict=True):
            part += more
    for workload in topology.workloads:
        if workload.outbound and "outbound" in roles:
            made = outbound(ctx, workload)
            _refuse_twice(clusters, made[1], workload.name)
            for part, more in zip((listeners, clusters, routes), made, strict=True):
                part += more
        if workload.app and "inbound" in roles:
            more_listeners, more_clusters = inbound(ctx, workload)
            listeners += more_listeners
            clusters += more_clusters
    _note_unused(ctx)
    ctx.report.raise_problems()
    return Rendered(listeners, clusters, routes, ctx.report)


def _refuse_twice(clusters: list[Json], more: list[Json], name: str) -> None:
    """One Envoy has one cluster of a name; the gateway's and a sidecar's own would differ in their identity."""
    for cluster in more:
        if any(one["name"] == cluster["name"] for one in clusters):
            raise MeshError(
                f"{cluster['name']} is called by {name} and by another proxy of this mesh; one Envoy can't be both. "
                "Render the roles one by one."
            )


def _check_kinds(ctx: Context) -> None:
    for resource in ctx.resources:
        if resource.group.endswith("istio.io") and not resource.group.startswith("gateway.networking"):
            if resource.kind in CLUSTER_KINDS:
                ctx.report.only_in_cluster(resource.at, str(resource), CLUSTER_KINDS[resource.kind])
            elif resource.kind not in TRANSLATED:
                ctx.report.problem(resource.at, f"{resource}: this kind is not translated for the local mesh")
        elif resource.group == "gateway.networking.k8s.io":
            ctx.report.problem(
                resource.at, f"{resource}: the Gateway API is not translated; give Istio's kinds"
            )
        else:
            ctx.report.only_in_cluster(resource.at, str(resource), "not part of the mesh's configuration")


def _note_unused(ctx: Context) -> None:
    """Say which resources speak of nothing here: their fields were not looked at."""
    for resource in ctx.resources:
        if (
            resource.kind in TRANSLATED
            and resource.group.endswith("istio.io")
            and id(resource.body) not in ctx.used
        ):
            why = "selects nothing that runs here; its fields were not translated"
            ctx.report.only_in_cluster(resource.at, str(resource), why)


def _secrets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["name"]] if "sds_config" in node else []
        return own + [name for value in node.values() for name in _secrets(value)]
    if isinstance(node, list):
        return [name for value in node for name in _secrets(value)]
    return []
