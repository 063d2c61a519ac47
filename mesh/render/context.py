"""What every translator needs: the resources by kind, where things are, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.render.fields import Fields, Report
from mesh.render.mesh_config import MeshDefaults
from mesh.render.topology import Service, Topology, resolve
from mesh.resources import MeshError, Resource

Json = dict[str, Any]  # a part of Envoy's configuration, as protobuf JSON


def cluster_name(port: int, subset: str, host: str) -> str:
    """istiod's name of an outbound cluster."""
    return f"outbound|{port}|{subset}|{host}"


def string_match(text: str) -> Json:
    """Istio's wildcards in security policies: `*`, `prefix*`, `*suffix` or the exact text."""
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.endswith("*"):
        return {"prefix": text[:-1]}
    if text.startswith("*"):
        return {"suffix": text[1:]}
    return {"exact": text}


def any_of(message: str, **config: Any) -> Json:
    """A typed config of an `envoy.extensions` message."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{message}", **config}


@dataclass
class Context:
    """One rendering: read-only resources and topology, and the report that translators fill."""

    resources: list[Resource]
    topology: Topology
    report: Report = field(default_factory=Report)
    defaults: MeshDefaults = field(default_factory=MeshDefaults)
    used: set[int] = field(default_factory=set)  # ids of the bodies that some proxy's configuration came from

    def of(self, kind: str) -> list[Resource]:
        """The resources of a kind in Istio's own API groups."""
        return [r for r in self.resources if r.kind == kind and r.group.endswith("istio.io")]

    def spec(self, resource: Resource) -> Fields:
        """A reader of a resource's spec; marks the resource as used."""
        self.used.add(id(resource.body))
        return Fields(resource.spec, f"{resource.kind} {resource.name} spec", self.report, resource.at)

    def host(self, text: str, namespace: str) -> str:
        return resolve(text, namespace, self.topology.domain)

    def service(self, fields: Fields, key: str, text: str, namespace: str) -> Service:
        """The Service that a field names. Raises MeshError where this mesh has none."""
        host = self.host(text, namespace)
        service = self.topology.service(host)
        if service is None:
            known = ", ".join(s.host for s in self.topology.services)
            raise fields.fail(key, f"{host} is not a service of this mesh ({known})")
        return service

    def selects(self, resource: Resource, labels: Mapping[str, str], namespace: str) -> bool:
        """Whether a policy with `selector` or `workloadSelector` applies to a workload."""
        if resource.namespace not in {namespace, self.topology.root_namespace}:
            return False
        return matches_labels(selector(resource), labels)

    def selects_caller(self, rule: Resource, labels: Mapping[str, str], namespace: str) -> bool:
        """Whether a DestinationRule is for this caller: one with a workloadSelector only in its namespace."""
        wanted = selector(rule)
        return not wanted or (rule.namespace == namespace and matches_labels(wanted, labels))

    def subsets(self, host: str) -> dict[str, Fields]:
        """The subsets that DestinationRules define for a host (the readers are fresh, and not yet read)."""
        found: dict[str, Fields] = {}
        for resource in self.of("DestinationRule"):
            if self.host(str(resource.spec.get("host", "")), resource.namespace) == host:
                spec = Fields(
                    resource.spec, f"DestinationRule {resource.name} spec", self.report, resource.at
                )
                for subset in spec.each("subsets"):
                    found[subset.text("name")] = subset
        return found


def selector(resource: Resource) -> dict[str, str]:
    """The labels a resource selects workloads by; none selects all. A Gateway's selector is the labels itself."""
    chosen = resource.spec.get("selector") or resource.spec.get("workloadSelector") or {}
    if not isinstance(chosen, dict):
        raise MeshError(f"{resource.at}: the selector of {resource} must be a mapping")
    labels = (
        chosen if resource.kind == "Gateway" else chosen.get("matchLabels", chosen.get("labels", {})) or {}
    )
    if not isinstance(labels, dict):
        raise MeshError(f"{resource.at}: the labels that {resource} selects by must be a mapping")
    return {str(key): str(value) for key, value in labels.items()}


def matches_labels(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())
