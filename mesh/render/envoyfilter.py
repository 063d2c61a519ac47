"""EnvoyFilter: the patches that our files use, applied to what the other translators made."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.render.context import Context, Json
from mesh.render.fields import Fields
from mesh.resources import Map, Resource

MANAGER = "envoy.filters.network.http_connection_manager"
CONTEXTS = ("ANY", "GATEWAY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
APPLY_TO = ("HTTP_FILTER", "NETWORK_FILTER", "ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE", "CLUSTER")
INSERTS = ("INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER", "ADD")


@dataclass
class Proxy:
    """One proxy's configuration while it is being patched. Keys are the ports that resources speak of."""

    context: str  # GATEWAY, SIDECAR_INBOUND or SIDECAR_OUTBOUND
    labels: Mapping[str, str]
    namespace: str
    managers: list[tuple[int, Json]] = field(default_factory=list)  # port, HttpConnectionManager
    routes: list[tuple[int, Json]] = field(default_factory=list)  # port, RouteConfiguration
    clusters: list[Json] = field(default_factory=list)


def apply_envoy_filters(ctx: Context, proxy: Proxy) -> None:
    """Apply the EnvoyFilters that select a proxy: by priority, root namespace first, then file order."""
    found = [r for r in ctx.of("EnvoyFilter") if ctx.selects(r, proxy.labels, proxy.namespace)]
    found.sort(key=lambda r: (_priority(r), r.namespace != ctx.topology.root_namespace))
    for resource in found:
        with ctx.spec(resource) as spec:
            spec.take("workloadSelector")
            spec.integer("priority", low=-(2**31), high=2**31 - 1)
            for entry in spec.each("configPatches"):
                with entry:
                    _patch(entry, proxy)


def _priority(resource: Resource) -> int:
    """0 for what is no number, which is an error when it is read."""
    value = resource.spec.get("priority")
    return value if isinstance(value, int) else 0


def _patch(entry: Fields, proxy: Proxy) -> None:
    apply_to = entry.text("applyTo", choices=APPLY_TO)
    with entry.fields("patch") as patch:
        operation = patch.text("operation", choices=(*INSERTS, "MERGE", "REMOVE"))
        value = copy.deepcopy(patch.take("value"))
        if operation != "REMOVE" and not isinstance(value, Map):
            raise patch.fail("value", f"expected a mapping to {operation}")
        if operation in INSERTS and not isinstance(value.get("name"), str):
            raise patch.fail("value", f"expected a filter with a name to {operation}")
    match = entry.fields("match")
    with match:
        here = match.text("context", "ANY", choices=CONTEXTS) in {"ANY", proxy.context}
        match.only_in_cluster("the local mesh has one proxy version", "proxy")
        if apply_to in {"HTTP_FILTER", "NETWORK_FILTER"}:
            _listener(match.fields("listener"), apply_to, operation, value, proxy if here else None)
        elif apply_to == "CLUSTER":
            _need_merge(entry, operation)
            _cluster(match.fields("cluster"), value, proxy if here else None)
        else:
            _need_merge(entry, operation)
            _route(match.fields("routeConfiguration"), apply_to, value, proxy if here else None)


def _need_merge(entry: Fields, operation: str) -> None:
    if operation != "MERGE":
        raise entry.fail("patch", f"operation {operation}: only MERGE is translated for this applyTo")


def _listener(match: Fields, apply_to: str, operation: str, value: Any, proxy: Proxy | None) -> None:
    """HTTP_FILTER: insert, merge into or remove one. NETWORK_FILTER: merge into the connection manager."""
    with match:
        port = match.integer("portNumber")
        name = ""
        with match.fields("filterChain") as chain, chain.fields("filter") as network:
            if network.text("name", MANAGER) != MANAGER:
                raise network.fail("name", f"only {MANAGER} is there")
            with network.fields("subFilter") as sub:
                name = sub.text("name")
    if apply_to == "NETWORK_FILTER" and operation != "MERGE":
        raise match.fail("filterChain", "NETWORK_FILTER: only MERGE is translated")
    typed = value.get("typed_config", {}) if apply_to == "NETWORK_FILTER" else {}
    if not isinstance(typed, dict):
        raise match.fail("filterChain", "the patch's typed_config must be a mapping")
    for number, manager in proxy.managers if proxy else []:
        if port in {None, number}:
            if apply_to == "NETWORK_FILTER":
                merge(manager, typed)
            else:
                _filters(manager["http_filters"], name, operation, value, match)


def _filters(filters: list[Json], name: str, operation: str, value: Any, match: Fields) -> None:
    index = next((i for i, one in enumerate(filters) if one["name"] == name), None)
    if operation == "INSERT_FIRST":
        filters.insert(0, copy.deepcopy(value))
    elif operation == "ADD":
        filters.append(copy.deepcopy(value))
    elif index is None:
        known = ", ".join(one["name"] for one in filters)
        raise match.fail("filterChain", f"no HTTP filter {name!r} here to {operation} (there are {known})")
    elif operation == "MERGE":
        merge(filters[index], value)
    elif operation == "REMOVE":
        del filters[index]
    else:
        filters.insert(index + (operation == "INSERT_AFTER"), copy.deepcopy(value))


def _route(match: Fields, apply_to: str, value: Any, proxy: Proxy | None) -> None:
    with match:
        port, name = match.integer("portNumber"), match.text("name")
        with match.fields("vhost") as vhost:
            vhost_name = vhost.text("name")
            with vhost.fields("route") as route:
                route_name = route.text("name")
                action = route.text("action", "ANY", choices=("ANY", "ROUTE", "DIRECT_RESPONSE"))
    for number, config in proxy.routes if proxy else []:
        if port not in {None, number} or name not in {"", config["name"]}:
            continue
        if apply_to == "ROUTE_CONFIGURATION":
            merge(config, value)
            continue
        for host in config["virtual_hosts"]:
            if vhost_name not in {"", host["name"]}:
                continue
            if apply_to == "VIRTUAL_HOST":
                merge(host, value)
                continue
            for one in host["routes"]:
                kind = "ROUTE" if "route" in one else "DIRECT_RESPONSE"
                if route_name in {"", one["name"]} and action in {"ANY", kind}:
                    merge(one, value)


def _cluster(match: Fields, value: Any, proxy: Proxy | None) -> None:
    with match:
        name, service = match.text("name"), match.text("service")
        subset, port = match.text("subset"), match.integer("portNumber")
    for cluster in proxy.clusters if proxy else []:
        _, number, own_subset, host = cluster["name"].split("|")
        fits = (
            name in {"", cluster["name"]}
            and service in {"", host}
            and subset in {"", own_subset}
            and port in {None, int(number)}
        )
        if fits:
            merge(cluster, value)


def merge(into: Json, value: Any) -> None:
    """protobuf's merge: messages merge, repeated fields append, scalars replace."""
    for key, new in value.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            merge(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            old.extend(copy.deepcopy(new))
        else:
            into[key] = copy.deepcopy(new)
