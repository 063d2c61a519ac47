"""The checks of KubeLinter that matter here, under its names; the program itself is no Python package.

Each takes all objects of a configuration and yields what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mesh.check.nodes import child, has, labels, maps, number, text
from mesh.resources import Map, Resource
from tests.k8s.rendered import Objects, containers, of, pod_labels, selected, template

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|API_?KEY", re.IGNORECASE)
CHECKS: dict[str, Callable[[Objects], Iterator[str]]] = {}


def workloads(objects: Objects) -> Objects:
    return [r for kind in WORKLOADS for r in of(objects, kind)]


def _each(name: str) -> Callable[[Callable[[Resource, Map], bool]], None]:
    """Register a check of one container: true where it is wrong."""

    def register(wrong: Callable[[Resource, Map], bool]) -> None:
        def check(objects: Objects) -> Iterator[str]:
            for workload in workloads(objects):
                for container in containers(workload):
                    if wrong(workload, container):
                        yield f"{workload}, container {text(container, 'name')}"

        CHECKS[name] = check

    return register


def _pod(name: str) -> Callable[[Callable[[Resource, Map], bool]], None]:
    """Register a check of one pod template's spec: true where it is wrong."""

    def register(wrong: Callable[[Resource, Map], bool]) -> None:
        def check(objects: Objects) -> Iterator[str]:
            for workload in workloads(objects):
                if wrong(workload, child(template(workload), "spec")):
                    yield str(workload)

        CHECKS[name] = check

    return register


def _objects(name: str) -> Callable[[Callable[[Objects], Iterator[str]]], None]:
    def register(check: Callable[[Objects], Iterator[str]]) -> None:
        CHECKS[name] = check

    return register


def _main(workload: Resource, container: Map) -> bool:
    return workload.kind == "Deployment" and container in maps(template(workload), "spec", "containers")


_each("no-startup-probe")(lambda w, c: _main(w, c) and not has(c, "startupProbe"))
_each("no-readiness-probe")(lambda w, c: _main(w, c) and not has(c, "readinessProbe"))
_each("no-liveness-probe")(lambda w, c: _main(w, c) and not has(c, "livenessProbe"))
_each("no-read-only-root-fs")(
    lambda _, c: child(c, "securityContext").get("readOnlyRootFilesystem") is not True
)
_each("privilege-escalation-container")(
    lambda _, c: child(c, "securityContext").get("allowPrivilegeEscalation") is not False
)
_each("privileged-container")(lambda _, c: child(c, "securityContext").get("privileged") is True)
_each("drop-all-capabilities")(
    lambda _, c: (
        child(c, "securityContext", "capabilities").get("drop") != ["ALL"]
        or has(child(c, "securityContext", "capabilities"), "add")
    )
)
_each("latest-tag")(
    lambda _, c: (
        not re.fullmatch(
            r"[^@]+:(?!latest$)[\w.-]+|[^@]+@sha256:[0-9a-f]{64}", text(c, "image").rpartition("/")[2]
        )
    )
)
_each("unset-cpu-requirements")(lambda _, c: _unset(c, "cpu"))
_each("unset-memory-requirements")(lambda _, c: _unset(c, "memory"))
_each("env-var-secret")(
    lambda _, c: any(SECRET_NAME.search(text(e, "name")) and has(e, "value") for e in maps(c, "env"))
)
_each("duplicate-env-var")(lambda _, c: len({text(e, "name") for e in maps(c, "env")}) < len(maps(c, "env")))
_each("host-port")(lambda _, c: any(has(port, "hostPort") for port in maps(c, "ports")))
_pod("run-as-non-root")(lambda _, spec: child(spec, "securityContext").get("runAsNonRoot") is not True)
_pod("sidecar-user-id")(lambda _, spec: number(spec, "securityContext", "runAsUser") == 1337)
_pod("seccomp-profile")(
    lambda _, spec: text(spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault"
)
_pod("host-network")(lambda _, spec: spec.get("hostNetwork") is True)
_pod("host-pid")(lambda _, spec: spec.get("hostPID") is True)
_pod("host-ipc")(lambda _, spec: spec.get("hostIPC") is True)
_pod("sensitive-host-mounts")(lambda _, spec: any(has(v, "hostPath") for v in maps(spec, "volumes")))
_pod("default-service-account")(lambda _, spec: text(spec, "serviceAccountName") in ("", "default"))
_pod("mounted-token")(lambda _, spec: spec.get("automountServiceAccountToken") is not False)
_pod("no-topology-spread")(
    lambda w, spec: (
        w.kind == "Deployment"
        and {text(c, "topologyKey") for c in maps(spec, "topologySpreadConstraints")}
        != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    )
)
_pod("no-rolling-update-strategy")(
    lambda w, _: w.kind == "Deployment" and text(w.spec, "strategy", "type") != "RollingUpdate"
)
_pod("mismatching-selector")(
    lambda w, _: (
        w.kind == "Deployment"
        and not set() < labels(w.spec, "selector", "matchLabels").items() <= pod_labels(w).items()
    )
)
# A Deployment's own number would reset the scaler's at every apply; without a scaler it is one of them.
_pod("non-existent-scaler")(lambda w, _: has(w.spec, "replicas"))


def _unset(container: Map, resource: str) -> bool:
    return any(not has(child(container, "resources", kind), resource) for kind in ("requests", "limits"))


@_objects("non-isolated-pod")
def _non_isolated(objects: Objects) -> Iterator[str]:
    for workload in workloads(objects):
        directions = {
            d
            for p in of(objects, "NetworkPolicy")
            if workload in selected([workload], labels(p.spec, "podSelector", "matchLabels"))
            and p.namespace == workload.namespace
            for d in p.spec.get("policyTypes", ())
        }
        if directions != {"Ingress", "Egress"}:
            yield str(workload)


@_objects("dangling-selector")
def _dangling(objects: Objects) -> Iterator[str]:
    """KubeLinter's dangling-service, -networkpolicy and -poddisruptionbudget."""
    places = {
        "Service": ("selector",),
        "NetworkPolicy": ("podSelector", "matchLabels"),
        "PodDisruptionBudget": ("selector", "matchLabels"),
    }
    for kind, keys in places.items():
        for r in of(objects, kind):
            near = [w for w in workloads(objects) if w.namespace == r.namespace]
            if not selected(near, labels(r.spec, *keys)):
                yield str(r)


@_objects("pdb-max-unavailable")
def _budgets(objects: Objects) -> Iterator[str]:
    """Each Deployment has one budget, which lets a drain go on."""
    for workload in of(objects, "Deployment"):
        own = [
            p
            for p in of(objects, "PodDisruptionBudget")
            if selected([workload], labels(p.spec, "selector", "matchLabels"))
        ]
        if len(own) != 1 or not number(own[0].spec, "maxUnavailable"):
            yield f"{workload}: {len(own)} budgets that let pods go"
        elif text(own[0].spec, "unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{own[0]}: a broken pod blocks a drain"


@_objects("exposed-services")
def _exposed(objects: Objects) -> Iterator[str]:
    for r in of(objects, "Service", ""):
        if text(r.spec, "type") not in ("", "ClusterIP") or has(r.spec, "externalIPs"):
            yield str(r)


@_objects("access-to-secrets")
def _roles(objects: Objects) -> Iterator[str]:
    """Nothing here needs the API server, so there is no RBAC at all."""
    for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Secret"):
        yield from map(str, of(objects, kind))


def minimum_three_replicas(objects: Objects) -> Iterator[str]:
    """For production alone."""
    minimum = {
        text(r.spec, "scaleTargetRef", "name"): number(r.spec, key) or 1
        for kind, key in (("HorizontalPodAutoscaler", "minReplicas"), ("ScaledObject", "minReplicaCount"))
        for r in of(objects, kind)
    }
    for workload in of(objects, "Deployment"):
        if minimum.get(workload.name, 1) < 3:
            yield str(workload)
