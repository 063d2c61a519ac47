"""What the resources of one configuration say of each other: hosts, ports, subsets, pods, gateways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mesh.check.nodes import child, labels, maps, number, text, texts
from mesh.resources import Map, Resource

DOMAIN = "cluster.local"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod")


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    name: str
    protocol: str  # appProtocol, a ServiceEntry's protocol, or the name's prefix


@dataclass(frozen=True, slots=True)
class Service:
    """A host that may be called: a Service, or one host of a ServiceEntry."""

    host: str  # fully qualified; a ServiceEntry's may start with "*."
    namespace: str
    ports: tuple[Port, ...]
    resource: Resource

    def port(self, number: float) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True)
class Pods:
    """What runs: the labels of a workload's pods, and how many there are at least (None: not said)."""

    namespace: str
    labels: Mapping[str, str]
    replicas: int | None
    resource: Resource


@dataclass
class World:
    """`own`: the resources to check. `context`: others given beside them, only to look things up in."""

    own: list[Resource]
    context: list[Resource] = field(default_factory=list)

    def of(self, kind: str) -> list[Resource]:
        """The resources to check of a kind in Istio's own API groups."""
        return [r for r in self.own if r.kind == kind and r.group.endswith("istio.io")]

    def anywhere(self, kind: str, group: str = "istio.io") -> list[Resource]:
        return [r for r in [*self.own, *self.context] if r.kind == kind and r.group.endswith(group)]

    @cached_property
    def services(self) -> list[Service]:
        found = []
        for r in self.anywhere("Service", ""):
            if r.group == "":
                ports = tuple(_service_port(p) for p in maps(r.spec, "ports"))
                found.append(Service(f"{r.name}.{r.namespace}.svc.{DOMAIN}", r.namespace, ports, r))
        for r in self.anywhere("ServiceEntry"):
            ports = tuple(
                Port(int(number(p, "number") or 0), text(p, "name"), text(p, "protocol").lower())
                for p in maps(r.spec, "ports")
            )
            found += [Service(host, r.namespace, ports, r) for host, _ in texts(r.spec, "hosts")]
        return found

    @cached_property
    def pods(self) -> list[Pods]:
        found = []
        for kind in WORKLOADS:
            for r in self.anywhere(kind, ""):
                meta = r.body if kind == "Pod" else child(r.spec, "template")
                count = 1 if kind == "Pod" else self._replicas(r)
                found.append(Pods(r.namespace, labels(meta, "metadata", "labels"), count, r))
        return found

    def _replicas(self, workload: Resource) -> int | None:
        for scaler in self.anywhere("HorizontalPodAutoscaler", "autoscaling"):
            if text(scaler.spec, "scaleTargetRef", "name") == workload.name:
                return int(number(scaler.spec, "minReplicas") or 1)
        if workload.kind == "DaemonSet":
            return None
        found = number(workload.spec, "replicas")
        return 1 if found is None else int(found)

    def namespace_known(self, namespace: str) -> bool:
        """Whether the namespace's Services and workloads are among the files, so that a missing one means something.

        A Service alone tells little: mesh configuration often brings one of its own.
        """
        services = any(s.namespace == namespace and s.resource.kind == "Service" for s in self.services)
        return services and self.pods_known(namespace)

    def pods_known(self, namespace: str) -> bool:
        return any(p.namespace == namespace for p in self.pods)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[Pods]:
        return [p for p in self.pods if p.namespace == namespace and selector.items() <= p.labels.items()]

    def service(self, host: str) -> Service | None:
        """By its full host; a ServiceEntry's wildcard fits too."""
        return next((s for s in self.services if host_fits(host, s.host)), None)

    def rules_for(self, host: str) -> list[Resource]:
        """The DestinationRules of a full host."""
        return [
            r
            for r in self.anywhere("DestinationRule")
            if host_fits(host, full_host(text(r.spec, "host"), r.namespace))
        ]


def full_host(host: str, namespace: str) -> str:
    """Istio completes a name without dots with the resource's own namespace; other names stay as they are."""
    return host if "." in host or "*" in host or not host else f"{host}.{namespace}.svc.{DOMAIN}"


def host_fits(host: str, pattern: str) -> bool:
    """Whether a host falls under a pattern, which may be `*` or start with `*.`."""
    return host == pattern or pattern == "*" or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def hosts_overlap(one: str, other: str) -> bool:
    return host_fits(one, other) or host_fits(other, one)


def is_internal(host: str) -> bool:
    """Whether a full host is a Kubernetes Service's name."""
    return host.endswith(f".svc.{DOMAIN}")


def is_grpc_path(path: str) -> bool:
    """/package.Service/Method"""
    service, _, method = path.removeprefix("/").partition("/")
    return path.startswith("/") and "." in service and method.isidentifier() and method[:1].isupper()


def destinations(rule: Map, key: str = "route") -> list[Map]:
    """The weighted destinations of a VirtualService's rule."""
    return maps(rule, key)


def _service_port(node: Map) -> Port:
    name = text(node, "name")
    protocol = text(node, "appProtocol") or name.partition("-")[0]
    return Port(int(number(node, "port") or 0), name, protocol.lower())


def selector(spec: Any) -> tuple[Map, dict[str, str]]:
    """The node and the labels that choose a policy's pods: `selector.matchLabels` or `workloadSelector.labels`."""
    for key, inner in (
        ("selector", "matchLabels"),
        ("workloadSelector", "labels"),
        ("workloadSelector", "matchLabels"),
    ):
        node = child(spec, key)
        if found := labels(node, inner):
            return node, found
    return child(spec), {}
