"""HTTPRoutes and GRPCRoutes of the Gateway API: parents and backends that are there."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.check.findings import Finding, Severity, finding
from mesh.check.nodes import at, maps, number, text
from mesh.check.references import port_findings, unknown_host
from mesh.check.world import DOMAIN, World
from mesh.resources import Map, Resource

GROUP = "gateway.networking.k8s.io"
ROUTES = ("HTTPRoute", "GRPCRoute")


def check(world: World) -> Iterator[Finding]:
    for route in [r for r in world.own if r.group == GROUP and r.kind in ROUTES]:
        for parent in maps(route.spec, "parentRefs"):
            yield from _parent(route, parent, world)
        for rule in maps(route.spec, "rules"):
            backends = maps(rule, "backendRefs")
            for backend in backends:
                yield from _backend(route, backend, world)
            if backends and all(number(b, "weight") == 0 for b in backends):
                yield finding("SL-M205", at(rule, "backendRefs"), "the weights add up to 0", Severity.ERROR)


def _parent(route: Resource, parent: Map, world: World) -> Iterator[Finding]:
    kind = text(parent, "kind") or "Gateway"
    namespace = text(parent, "namespace") or route.namespace
    name = text(parent, "name")
    if kind == "Gateway":
        known = {(g.namespace, g.name) for g in world.anywhere("Gateway", GROUP)}
        if (namespace, name) not in known:
            what = f"Gateway {namespace}/{name} is not among these files"
            yield finding("SL-M104", at(parent, "name"), what)
    elif kind == "Service":
        yield from _service(parent, f"{name}.{namespace}.svc.{DOMAIN}", world, None)


def _backend(route: Resource, backend: Map, world: World) -> Iterator[Finding]:
    if (text(backend, "kind") or "Service") != "Service" or text(backend, "group"):
        return
    namespace = text(backend, "namespace") or route.namespace
    host = f"{text(backend, 'name')}.{namespace}.svc.{DOMAIN}"
    if number(backend, "port") is None:
        yield finding("SL-M103", backend.at, f"{host}: a backend that is a Service needs its port")
    yield from _service(backend, host, world, number(backend, "port"))


def _service(node: Map, host: str, world: World, port: float | None) -> Iterator[Finding]:
    found = world.service(host)
    if found is not None:
        if port is not None:
            yield from port_findings(found, port, at(node, "port"))
    elif message := unknown_host(host, world):
        yield finding("SL-M101", at(node, "name"), message)
