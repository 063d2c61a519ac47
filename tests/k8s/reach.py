"""Who reaches which port, by the NetworkPolicies: their semantics, evaluated over the rendered objects.

Also what an intruder in the cluster would look for, in the manner of kube-hunter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from mesh.check.nodes import child, has, labels, maps, number
from mesh.resources import Map, Resource
from tests.k8s.rendered import NAMESPACE, Objects, container_ports, of, pod_labels

PROXY_PORTS = {15020: "merged metrics", 15021: "health", 15090: "Envoy's metrics"}
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A pod somewhere, or an address outside of the cluster (no labels)."""

    name: str
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""


GATEWAY = Peer("gateway", "istio-ingress", (("istio", "ingress"),))
GATEWAY_API = Peer("gateway", "istio-ingress", (("gateway.networking.k8s.io/gateway-name", "detect"),))
PROMETHEUS = Peer("prometheus", "monitoring", (("app.kubernetes.io/name", "prometheus"),))
DNS = Peer("dns", "kube-system", (("k8s-app", "kube-dns"),))
ISTIOD = Peer("istiod", "istio-system", (("app", "istiod"),))
COLLECTOR = Peer("collector", "observability", (("app", "otel-collector"),))
TRUSTEE = Peer("trustee", "trustee", (("app", "kbs"),))
NEIGHBOUR = Peer("a pod without labels", NAMESPACE)
STRANGER = Peer("a pod of another namespace", "default", (("app", "object-detection-client"),))
OTHERS = (
    NEIGHBOUR,
    STRANGER,
    Peer("another pod of monitoring", "monitoring", (("app", "grafana"),)),
    Peer("another pod of istio-ingress", "istio-ingress", (("app", "x"),)),
    Peer("another pod of kube-system", "kube-system", (("app", "x"),)),
)
INTERNET = Peer("the internet", address="203.0.113.7")
METADATA = Peer("the cloud's metadata", address="169.254.169.254")


def peer_of(workload: Resource) -> Peer:
    return Peer(workload.name, workload.namespace, tuple(sorted(pod_labels(workload).items())))


def may(objects: Objects, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Both ends have to let it pass; peers of other namespaces have no policies that we know of."""
    return _side(objects, source, target, port, protocol, "egress") and _side(
        objects, target, source, port, protocol, "ingress"
    )


def _side(objects: Objects, own: Peer, other: Peer, port: int, protocol: str, direction: str) -> bool:
    policies = [
        p
        for p in of(objects, "NetworkPolicy")
        if p.namespace == own.namespace
        and _fits(child(p.spec, "podSelector"), own.labels)
        and direction.capitalize() in p.spec.get("policyTypes", ["Ingress"])
    ]
    if not policies:
        return True
    key = "to" if direction == "egress" else "from"
    return any(
        _port(rule, port, protocol) and _peers(rule, key, other, policy.namespace)
        for policy in policies
        for rule in maps(policy.spec, direction)
    )


def _port(rule: Map, port: int, protocol: str) -> bool:
    if not has(rule, "ports"):
        return True
    return any(
        entry.get("protocol", "TCP") == protocol and entry.get("port") in (None, port)
        for entry in maps(rule, "ports")
    )


def _peers(rule: Map, key: str, other: Peer, namespace: str) -> bool:
    return not has(rule, key) or any(_peer(peer, other, namespace) for peer in maps(rule, key))


def _peer(peer: Map, other: Peer, namespace: str) -> bool:
    if has(peer, "ipBlock"):
        return bool(other.address) and _inside(other.address, child(peer, "ipBlock"))
    if other.address:
        return False
    in_namespace = other.namespace == namespace
    if has(peer, "namespaceSelector"):
        in_namespace = _fits(child(peer, "namespaceSelector"), ((NAMESPACE_LABEL, other.namespace),))
    return in_namespace and _fits(child(peer, "podSelector"), other.labels)


def _inside(address: str, block: Map) -> bool:
    found = ip_address(address)
    return found in ip_network(str(block["cidr"])) and not any(
        found in ip_network(str(cidr)) for cidr in block.get("except", ())
    )


def _fits(selector: Map, found: tuple[tuple[str, str], ...]) -> bool:
    if has(selector, "matchExpressions"):
        raise NotImplementedError("matchExpressions")
    return labels(selector, "matchLabels").items() <= dict(found).items()


def exposures(objects: Objects) -> Iterator[str]:
    """Every way that is open and not meant to be, and every one that is meant and shut."""
    gateway = GATEWAY_API if any(r.kind == "GRPCRoute" for r in objects) else GATEWAY
    for workload in of(objects, "Deployment"):
        own = peer_of(workload)
        relay = dict(own.labels)["app"] == "object-detection-client"
        ports = {*container_ports(workload).values(), *PROXY_PORTS, 22, 80, 443, 10250}
        metrics = {8601 if relay else 8501, 15020, 15090}
        relays = [peer_of(w) for w in of(objects, "Deployment") if w.name == "object-detection-client"]
        meant = {(PROMETHEUS, port) for port in metrics}
        meant |= {(gateway, 8600)} if relay else {(peer, 8500) for peer in relays}
        sources = {PROMETHEUS, gateway, INTERNET, *OTHERS, *map(peer_of, of(objects, "Deployment"))} - {own}
        for source in sources:
            for port in ports:
                if (source, port) in meant:
                    if not may(objects, source, own, port):
                        yield f"{source.name} can't reach {workload} on {port}"
                # Not to be relied upon: that the other end's own policies keep it from asking.
                elif _side(objects, own, source, port, "TCP", "ingress"):
                    yield f"{source.name} reaches {workload} on {port}"
        yield from _ways_out(objects, own)


def _ways_out(objects: Objects, own: Peer) -> Iterator[str]:
    sealed = any(r.name == "tf-serving-to-trustee" for r in objects)
    bucket = any(r.name == "tf-serving-to-model-bucket" for r in objects)
    server = dict(own.labels)["app"] == "tf-serving"
    expected = {
        (DNS, 53): True,
        (ISTIOD, 15012): True,
        (COLLECTOR, 4317): True,
        (DNS, 443): False,
        (ISTIOD, 15010): False,  # its plaintext port
        (STRANGER, 80): False,
        (NEIGHBOUR, 8500): False,
        (INTERNET, 443): server and bucket,
        (INTERNET, 80): False,
        (INTERNET, 53): False,
        (METADATA, 80): False,
        (METADATA, 443): False,
        (TRUSTEE, 8080): server and sealed,
    }
    for (target, port), open_ in expected.items():
        if may(objects, own, target, port) != open_:
            yield f"{own.name} {'can not' if open_ else 'can'} reach {target.name} on {port}"


def hunt(objects: Objects) -> Iterator[str]:
    """Ways from a broken-into pod to the cluster: nodes, the API server, other pods' processes."""
    for workload in of(objects, "Deployment"):
        spec = child(workload.spec, "template", "spec")
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{workload}: {key}"
        for volume in maps(spec, "volumes"):
            kinds = set(volume) - {"name", "emptyDir", "configMap", "image", "persistentVolumeClaim"}
            for kind in sorted(kinds):
                yield f"{workload}: a volume of {kind}"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{workload}: the API server's token is mounted"
        if number(spec, "securityContext", "runAsUser") in (None, 0):
            yield f"{workload}: runs as root, or as whoever its image says"
    for r in objects:
        if r.kind in ("Ingress", "NodePort") or (
            r.kind == "Service" and r.spec.get("type", "ClusterIP") != "ClusterIP"
        ):
            yield f"{r}: reached from outside, past the gateway"
    for namespace in of(objects, "Namespace"):
        wanted = "pod-security.kubernetes.io/enforce"
        if labels(namespace.body, "metadata", "labels").get(wanted) != "restricted":
            yield f"{namespace}: {wanted} is not restricted"
