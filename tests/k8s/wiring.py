"""Names and numbers that have to fit within and between objects, which no schema knows: each check yields misfits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from client.relay.health import LIVENESS
from mesh.check.nodes import child, has, labels, maps, number, text, texts
from mesh.resources import Map, Resource
from tests.k8s.rendered import NAMESPACE, Objects, container_ports, containers, of, selected, template

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
REFERENCES = ("scaleTargetRef", "targetRef", "autoscalerRef", "workloadRef")
HANDLERS = ("grpc", "httpGet", "tcpSocket", "exec")
# Kubernetes' own quantities: digits, then a factor.
QUANTITY = re.compile(r"(\d+)(m|k|M|G|Ki|Mi|Gi)?")
FACTORS = {"m": 0.001, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
# Namespaces that are there before our own, and kinds that are in none.
OTHER_NAMESPACES = {"istio-ingress", "istio-system"}
CLUSTER_WIDE = re.compile(
    r"Namespace|ValidatingAdmission\w+|ClusterImagePolicy|ClusterNetworkPolicy|ConstraintTemplate|Sightline\w+"
)


def references(objects: Objects) -> Iterator[str]:
    """What is named with kind and name is there: kustomize renames what it takes for a reference of its own."""
    there = {(r.kind, r.name, r.namespace) for r in objects}
    for r in objects:
        for key in REFERENCES:
            target = child(r.spec, key)
            # KEDA takes it for a Deployment where nothing is said.
            wanted = (text(target, "kind") or "Deployment", text(target, "name"), r.namespace)
            if target and wanted not in there:
                yield f"{r}: {key}: there is no {wanted[0]} {wanted[1]}"


def probes(objects: Objects) -> Iterator[str]:
    """Each asks one thing: the health service, on the port of gRPC, by a name that it has."""
    for workload in of(objects, "Deployment"):
        for container in maps(template(workload), "spec", "containers"):
            for kind in (kind for kind in PROBES if has(container, kind)):
                probe = child(container, kind)
                if sum(has(probe, handler) for handler in HANDLERS) != 1:
                    yield f"{workload}: {kind} does not ask one thing"
                if number(probe, "grpc", "port") != container_ports(workload).get("grpc"):
                    yield f"{workload}: {kind} asks another port than gRPC's"
                if text(probe, "grpc", "service") not in ("", LIVENESS):
                    yield f"{workload}: {kind} asks for a service that health does not know"


def protocols(objects: Objects) -> Iterator[str]:
    """Ports are named, say what is spoken there, and routes for calls lead to gRPC's."""
    services = of(objects, "Service", "")
    grpc: dict[str, set[float | None]] = {}
    for service in services:
        for port in maps(service.spec, "ports"):
            wanted = "grpc" if text(port, "name") == "grpc" else "http"
            if (text(port, "name"), text(port, "appProtocol")) != (wanted, wanted):
                yield f"{service}: port {port.get('port')} is not called grpc or http, or speaks something else"
        grpc[f"{service.name}.{service.namespace}.svc.cluster.local"] = {
            number(port, "port") for port in maps(service.spec, "ports") if port.get("name") == "grpc"
        }
    for routes in of(objects, "VirtualService") + of(objects, "GRPCRoute"):
        for host, called in _destinations(routes):
            if called not in grpc.get(host, ()):
                yield f"{routes}: {host} takes no calls on {called}"


def _destinations(routes: Resource) -> Iterator[tuple[str, float | None]]:
    for rule in maps(routes.spec, "http"):
        for route in maps(rule, "route"):
            yield text(route, "destination", "host"), number(route, "destination", "port", "number")
    for rule in maps(routes.spec, "rules"):
        for backend in maps(rule, "backendRefs"):
            yield f"{text(backend, 'name')}.{routes.namespace}.svc.cluster.local", number(backend, "port")


def monitors(objects: Objects) -> Iterator[str]:
    """What is scraped is there: a Service with this label and port, pods with this label."""
    for monitor in of(objects, "ServiceMonitor"):
        wanted = labels(monitor.spec, "selector", "matchLabels")
        found = [
            service
            for service in of(objects, "Service", "")
            if wanted and wanted.items() <= labels(service.body, "metadata", "labels").items()
        ]
        if not found:
            yield f"{monitor}: no Service has its labels"
        for service in found:
            names = {port.get("name") for port in maps(service.spec, "ports")}
            for endpoint in maps(monitor.spec, "endpoints"):
                if endpoint.get("port") not in names:
                    yield f"{monitor}: {service} has no port {endpoint.get('port')}"
            if text(monitor.spec, "jobLabel") not in labels(service.body, "metadata", "labels"):
                yield f"{monitor}: {service} lacks the label that names the job"
    for monitor in of(objects, "PodMonitor"):
        wanted = labels(monitor.spec, "selector", "matchLabels")
        if not wanted or not selected(of(objects, "Deployment"), wanted):
            yield f"{monitor}: no pod has its labels"


def spread(objects: Objects) -> Iterator[str]:
    """A version's pods are spread among themselves."""
    for workload in of(objects, "Deployment"):
        own = labels(workload.spec, "selector", "matchLabels")
        for constraint in maps(template(workload), "spec", "topologySpreadConstraints"):
            if not own or labels(constraint, "labelSelector", "matchLabels") != own:
                yield f"{workload}: spreads other pods than its own"


def mounts(objects: Objects) -> Iterator[str]:
    """Each mount has its volume, and each volume is mounted."""
    for workload in of(objects, "Deployment") + of(objects, "Job"):
        volumes = {text(volume, "name") for volume in maps(template(workload), "spec", "volumes")}
        used = {text(mount, "name") for c in containers(workload) for mount in maps(c, "volumeMounts")}
        for name in sorted(volumes ^ used):
            yield f"{workload}: {name} is a volume or a mount, and not both"


def quantities(objects: Objects) -> Iterator[str]:
    """Quantities are such, and nothing is asked for beyond its limit."""
    for workload in of(objects, "Deployment"):
        for container in containers(workload):
            limits = child(container, "resources", "limits")
            for resource, value in child(container, "resources", "requests").items():
                asked, most = _amount(value), _amount(limits.get(resource, value))
                if asked is None or most is None or asked > most:
                    yield f"{workload}: {resource}: {value} asked for, {limits.get(resource)} at most"
        for volume in maps(template(workload), "spec", "volumes"):
            if has(volume, "emptyDir") and _amount(child(volume, "emptyDir").get("sizeLimit")) is None:
                yield f"{workload}: volume {text(volume, 'name')} may fill the node"
    for scaler in of(objects, "HorizontalPodAutoscaler"):
        for metric in maps(scaler.spec, "metrics"):
            if _amount(child(metric, "pods", "target").get("averageValue")) is None:
                yield f"{scaler}: no value to scale at"


def _amount(value: object) -> float | None:
    found = QUANTITY.fullmatch(str(value))
    return float(found[1]) * FACTORS[found[2] or ""] if found else None


def namespaces(objects: Objects) -> Iterator[str]:
    """Each object is in a namespace of ours, or one that is there anyway."""
    known = OTHER_NAMESPACES | {r.name for r in of(objects, "Namespace")}
    for r in objects:
        if not CLUSTER_WIDE.fullmatch(r.kind) and text(r.body, "metadata", "namespace") not in known:
            yield f"{r}: its namespace is none of {', '.join(sorted(known))}"


def admission(objects: Objects) -> Iterator[str]:
    """Each policy is bound to our namespace, denies, looks at changes too, and fails shut."""
    bindings = {text(r.spec, "policyName"): r for r in of(objects, "ValidatingAdmissionPolicyBinding")}
    for policy in of(objects, "ValidatingAdmissionPolicy"):
        binding = bindings.pop(policy.name, None)
        if binding is None or not _denies(binding):
            yield f"{policy}: no binding denies what it refuses in {NAMESPACE}"
        if text(policy.spec, "failurePolicy") != "Fail":
            yield f"{policy}: lets everything in when it fails"
        for rule in maps(policy.spec, "matchConstraints", "resourceRules"):
            resources = {r for r, _ in texts(rule, "resources")}
            if [o for o, _ in texts(rule, "operations")] != ["CREATE", "UPDATE"]:
                yield f"{policy}: does not look at what is created and what is changed"
            if "pods" in resources and "pods/ephemeralcontainers" not in resources:
                yield f"{policy}: a container may be added to a running pod"
    for name in bindings:
        yield f"a binding names the policy {name}, which is not there"


def _denies(binding: Resource) -> bool:
    chosen: Map = child(binding.spec, "matchResources", "namespaceSelector")
    return "Deny" in [a for a, _ in texts(binding.spec, "validationActions")] and labels(
        chosen, "matchLabels"
    ) == {"kubernetes.io/metadata.name": NAMESPACE}


CHECKS = {
    check.__name__: check
    for check in (references, probes, protocols, monitors, spread, mounts, quantities, namespaces, admission)
}
