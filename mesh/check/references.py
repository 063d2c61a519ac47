"""Whether what a resource names is there: hosts, subsets, ports, gateways, pods."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from mesh.check.findings import Finding, Severity, finding
from mesh.check.nodes import at, child, labels, maps, number, text, texts
from mesh.check.world import (
    Service,
    World,
    full_host,
    host_fits,
    is_internal,
    selector,
)
from mesh.resources import Map, Position, Resource

GRPC_NAMES = ("grpc", "grpc-web", "http2", "http", "https", "tls", "tcp", "mongo", "mysql", "redis", "udp")
SELECTING = (
    "AuthorizationPolicy",
    "PeerAuthentication",
    "RequestAuthentication",
    "Sidecar",
    "EnvoyFilter",
    "Telemetry",
    "DestinationRule",
)


def check(world: World) -> Iterator[Finding]:
    for service in world.of("VirtualService"):
        yield from _destinations(service, world)
        yield from _gateways(service, world)
    for rule in world.of("DestinationRule"):
        yield from _destination_rule(rule, world)
    for kind in SELECTING:
        for resource in world.of(kind):
            yield from _selector(resource, world)
    yield from _port_names(world)


def _destinations(service: Resource, world: World) -> Iterator[Finding]:
    for rule in [r for key in ("http", "tls", "tcp") for r in maps(service.spec, key)]:
        nodes = [child(entry, "destination") for entry in maps(rule, "route")]
        nodes += [child(entry, "destination") for entry in maps(rule, "mirrors")]
        nodes += [child(rule, "mirror")]
        for node in nodes:
            if text(node, "host"):
                yield from _destination(node, service, world)


def _destination(node: Map, owner: Resource, world: World) -> Iterator[Finding]:
    host = full_host(text(node, "host"), owner.namespace)
    found = world.service(host)
    if found is None:
        yield from _unknown_host(node, host, world)
    else:
        yield from _port(node, found)
    subset = text(node, "subset")
    if not subset:
        return
    rules = world.rules_for(host)
    known = [text(s, "name") for rule in rules for s in maps(rule.spec, "subsets")]
    if subset not in known:
        where = (
            f"its DestinationRule has {', '.join(known) or 'none'}"
            if rules
            else "no DestinationRule of it is here"
        )
        # Without any rule the files may just be a part of the whole.
        severity = Severity.ERROR if rules else Severity.WARNING
        yield finding("SL-M102", at(node, "subset"), f"subset {subset} of {host}: {where}", severity)


def _unknown_host(node: Map, host: str, world: World) -> Iterator[Finding]:
    if message := unknown_host(host, world):
        yield finding("SL-M101", at(node, "host"), message)


def unknown_host(host: str, world: World) -> str | None:
    """What to say of a host that no Service has; None where the files can't tell."""
    parts = host.split(".")
    namespace = parts[1] if len(parts) > 1 and is_internal(host) else ""
    if namespace and world.namespace_known(namespace):
        names = [s.host for s in world.services]
        close = get_close_matches(host, names, n=1, cutoff=0.7)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{host} is no Service or ServiceEntry of these files{hint}"
    if len(parts) == 2 and world.service(f"{host}.svc.cluster.local"):
        return (
            f"{host} is not completed by Istio: only names without a dot are; write {host}.svc.cluster.local"
        )
    return None


def _port(node: Map, service: Service) -> Iterator[Finding]:
    wanted = number(node, "port", "number")
    have = ", ".join(str(p.number) for p in service.ports)
    if wanted is None and len(service.ports) > 1:
        yield finding(
            "SL-M103", at(node, "host"), f"{service.host} has the ports {have}; this destination names none"
        )
    elif wanted is not None:
        yield from port_findings(service, wanted, at(child(node, "port"), "number"))


def port_findings(service: Service, wanted: float, where: Position) -> Iterator[Finding]:
    """Whether a Service has a port."""
    if service.ports and service.port(wanted) is None:
        have = ", ".join(str(p.number) for p in service.ports)
        yield finding("SL-M103", where, f"{service.host} has no port {wanted:g}, but {have}")


def _gateways(service: Resource, world: World) -> Iterator[Finding]:
    gateways = {f"{g.namespace}/{g.name}": g for g in world.anywhere("Gateway", "networking.istio.io")}
    for name, where in texts(service.spec, "gateways"):
        if name == "mesh":
            continue
        full = name if "/" in name else f"{service.namespace}/{name}"
        if full not in gateways:
            elsewhere = [g for g in gateways if g.endswith(f"/{name.rpartition('/')[2]}")]
            hint = f"; there is {elsewhere[0]}" if elsewhere else ""
            yield finding("SL-M104", where, f"Gateway {full} is not among these files{hint}")
            continue
        patterns = [
            host for server in maps(gateways[full].spec, "servers") for host, _ in texts(server, "hosts")
        ]
        for host, host_at in texts(service.spec, "hosts"):
            # An in-mesh name beside gateways is for the mesh; only a name with no use at all is a mistake.
            if not any(_serves(p, host, service.namespace, full.partition("/")[0]) for p in patterns):
                mesh_too = any(g == "mesh" for g, _ in texts(service.spec, "gateways"))
                if not (mesh_too and _looks_internal(host)):
                    served = ", ".join(patterns) or "none"
                    yield finding("SL-M105", host_at, f"Gateway {full} serves {served}, not {host}")


def _looks_internal(host: str) -> bool:
    return "." not in host or is_internal(host)


def _serves(pattern: str, host: str, namespace: str, gateway_namespace: str) -> bool:
    """Whether a Gateway's host ([NAMESPACE/]HOST) takes a VirtualService's host."""
    wanted, slash, name = pattern.rpartition("/")
    allowed = gateway_namespace if wanted == "." else wanted
    in_namespace = not slash or wanted == "*" or allowed == namespace
    full = full_host(host, namespace)
    return in_namespace and any(host_fits(h, name) or host_fits(name, h) for h in (host, full))


def _destination_rule(rule: Resource, world: World) -> Iterator[Finding]:
    host = full_host(text(rule.spec, "host"), rule.namespace)
    service = world.service(host)
    if service is None and "*" not in host and (message := unknown_host(host, world)):
        yield finding("SL-M101", at(rule.spec, "host"), message)
    for subset in maps(rule.spec, "subsets"):
        name, wanted = text(subset, "name"), labels(subset, "labels")
        if not wanted:
            yield finding("SL-M107", at(subset, "name"), f"subset {name} of {host} has no labels")
            continue
        if service is None or service.resource.kind != "Service" or not world.pods_known(service.namespace):
            continue
        both = {**labels(service.resource.spec, "selector"), **wanted}
        if not world.selected(service.namespace, both):
            text_labels = ", ".join(f"{k}={v}" for k, v in both.items())
            yield finding(
                "SL-M106",
                at(subset, "labels"),
                f"subset {name}: no workload of these files has {text_labels}",
            )


def _selector(resource: Resource, world: World) -> Iterator[Finding]:
    node, wanted = selector(resource.spec)
    if wanted and world.pods_known(resource.namespace) and not world.selected(resource.namespace, wanted):
        text_labels = ", ".join(f"{k}={v}" for k, v in wanted.items())
        yield finding(
            "SL-M106",
            at(node, next(iter(node), "")),
            f"{resource}: no workload of these files in {resource.namespace} has {text_labels}",
        )


def _port_names(world: World) -> Iterator[Finding]:
    """Ports that a VirtualService routes HTTP to."""
    seen: set[Position] = set()
    for owner in world.of("VirtualService"):
        for entry in [e for rule in maps(owner.spec, "http") for e in maps(rule, "route")]:
            node = child(entry, "destination")
            service = world.service(full_host(text(node, "host"), owner.namespace))
            if service is None or service.resource.kind != "Service":
                continue
            for port_node in maps(service.resource.spec, "ports"):
                port = service.port(number(port_node, "port") or 0)
                wanted = number(node, "port", "number")
                if port is None or wanted not in (None, port.number) or port_node.at in seen:
                    continue
                seen.add(port_node.at)
                if not port.protocol.startswith(GRPC_NAMES) and "/" not in port.protocol:
                    what = f"port {port.number} of {service.host} is named {port.name!r}"
                    yield finding("SL-M108", at(port_node, "name"), what)
