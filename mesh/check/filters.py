"""EnvoyFilters, Sidecars, ServiceEntries and Telemetry."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mesh.check.findings import Finding, finding
from mesh.check.nodes import at, child, has, maps, number, text, texts, walk
from mesh.check.world import World, full_host, host_fits, selector
from mesh.resources import Map, Resource

RELATIVE = ("INSERT_BEFORE", "INSERT_AFTER", "REPLACE")
ROUTES = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")
REPLACEABLE = ("HTTP_FILTER", "NETWORK_FILTER", "LISTENER_FILTER", "FILTER_CHAIN")
LIMITER = "extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
OWN_DATA = re.compile(
    r"request\.(headers|path|url_path|query|id|useragent|referer|time)|connection\.(uri_san|id)|source\.address"
)


def check(world: World) -> Iterator[Finding]:
    for resource in world.of("EnvoyFilter"):
        yield from _envoy_filter(resource)
    for sidecar in world.of("Sidecar"):
        yield from _sidecar(sidecar, world)
    for entry in world.of("ServiceEntry"):
        yield from _service_entry(entry)
    for telemetry in world.of("Telemetry"):
        yield from _telemetry(telemetry)


def _envoy_filter(resource: Resource) -> Iterator[Finding]:
    for patch in maps(resource.spec, "configPatches"):
        operation, target = text(patch, "patch", "operation"), text(patch, "applyTo")
        where = at(child(patch, "patch"), "operation")
        if operation in RELATIVE and number(resource.spec, "priority") is None:
            yield finding("SL-M601", where, f"{resource}: {operation} without priority")
        ignored = (operation in ("ADD", "REMOVE") and target in ROUTES) or (
            operation == "REPLACE" and target not in REPLACEABLE
        )
        if ignored:
            yield finding("SL-M602", where, f"{operation} on {target}")
        for node in walk(child(patch, "patch", "value")):
            yield from _typed(node)


def _typed(node: Map) -> Iterator[Finding]:
    for key in ("typed_config", "typedConfig"):
        config = child(node, key)
        if not has(node, key):
            continue
        url = text(config, "@type") or text(config, "type_url")
        if not url:
            yield finding(
                "SL-M605", at(node, key), f"{key} of {text(node, 'name') or 'a filter'} without @type"
            )
        inner = child(config, "value") if url.endswith("TypedStruct") else config
        if LIMITER in url or LIMITER in text(config, "type_url"):
            yield from _rate_limit(inner)


def _rate_limit(node: Map) -> Iterator[Finding]:
    if not has(node, "token_bucket") and not has(node, "tokenBucket"):
        return  # the filter as such; limits come with a route's own configuration
    for key in ("filter_enabled", "filter_enforced"):
        camel = re.sub(r"_(\w)", lambda m: m[1].upper(), key)
        name = key if has(node, key) else camel
        value = child(node, name, "default_value") or child(node, name, "defaultValue")
        if not number(value, "numerator"):
            yield finding("SL-M603", at(node, name), f"{key} is 0 %")
    said = node.get("rate_limited_as_resource_exhausted", node.get("rateLimitedAsResourceExhausted"))
    if said is not True:
        yield finding("SL-M604", node.at, "rate_limited_as_resource_exhausted is not set")


def _sidecar(sidecar: Resource, world: World) -> Iterator[Finding]:
    hosts = [pair for egress in maps(sidecar.spec, "egress") for pair in texts(egress, "hosts")]
    for host, where in hosts:
        if "/" not in host:
            yield finding("SL-M701", where, f"{host!r} has no namespace")
    _, selected = selector(sidecar.spec)
    if selected or not hosts:
        return
    # The namespace's own Sidecar: routes of VirtualServices that live here are for callers that live here.
    for service in world.of("VirtualService"):
        gateways = [g for g, _ in texts(service.spec, "gateways")] or ["mesh"]
        if service.namespace != sidecar.namespace or "mesh" not in gateways:
            continue
        for entry in [e for rule in maps(service.spec, "http") for e in maps(rule, "route")]:
            node = child(entry, "destination")
            host = full_host(text(node, "host"), service.namespace)
            known = world.service(host)
            parts = host.split(".")
            namespace = known.namespace if known else parts[1] if host.endswith(".svc.cluster.local") else ""
            if namespace and not any(
                _shows(pattern, namespace, host, sidecar.namespace) for pattern, _ in hosts
            ):
                yield finding(
                    "SL-M703", at(node, "host"), f"{host} is not in the egress of {sidecar} ({sidecar.at})"
                )


def _shows(pattern: str, namespace: str, host: str, own: str) -> bool:
    wanted, _, name = pattern.partition("/")
    return (wanted == "*" or (own if wanted == "." else wanted) == namespace) and host_fits(host, name)


def _service_entry(entry: Resource) -> Iterator[Finding]:
    if text(entry.spec, "resolution") not in ("DNS", "DNS_ROUND_ROBIN") or maps(entry.spec, "endpoints"):
        return
    for host, where in texts(entry.spec, "hosts"):
        if host.startswith("*"):
            yield finding("SL-M702", where, f"{host} with resolution {text(entry.spec, 'resolution')}")


def _telemetry(telemetry: Resource) -> Iterator[Finding]:
    for override in [o for m in maps(telemetry.spec, "metrics") for o in maps(m, "overrides")]:
        tags = child(override, "tagOverrides")
        for name in tags:
            if OWN_DATA.search(text(tags, name, "value")):
                value = text(tags, name, "value")
                yield finding("SL-M801", at(child(tags, name), "value"), f"tag {name} is {value}")
