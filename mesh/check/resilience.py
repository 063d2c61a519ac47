"""DestinationRules: circuit breakers that do not break, and TLS that does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import ceil

from mesh.check.findings import Finding, Severity, finding
from mesh.check.nodes import at, child, has, labels, maps, number, text
from mesh.check.world import World, full_host
from mesh.resources import Map, Position, Resource

LIMITS = (
    ("tcp", "maxConnections"),
    ("http", "http1MaxPendingRequests"),
    ("http", "http2MaxRequests"),
    ("http", "maxRetries"),
)
BLOCKS = ("connectionPool", "outlierDetection", "loadBalancer", "retryBudget")
DEFAULT_EJECTION = 10  # percent
FEW_PENDING = 10  # fewer than one camera's second of frames


def check(world: World) -> Iterator[Finding]:
    for rule in world.of("DestinationRule"):
        outer = child(rule.spec, "trafficPolicy")
        yield from _policy(outer, _hosts(rule, {}, world), _subset_hosts(rule, world))
        yield from _tls(outer, rule, world)
        for subset in maps(rule.spec, "subsets"):
            inner = child(subset, "trafficPolicy")
            yield from _policy(inner, _hosts(rule, labels(subset, "labels"), world), [])
            yield from _replaced(outer, inner, f"subset {text(subset, 'name')}")
            yield from _tls(inner, rule, world)
        for port in maps(outer, "portLevelSettings"):
            yield from _policy(port, _hosts(rule, {}, world), [])
            yield from _replaced(outer, port, f"port {number(port, 'port', 'number') or 0:g}")
    yield from _same_host(world)


def _hosts(rule: Resource, wanted: dict[str, str], world: World) -> int | None:
    """How many pods there are at least behind the rule's host, narrowed by labels; None where not known."""
    service = world.service(full_host(text(rule.spec, "host"), rule.namespace))
    if service is None or service.resource.kind != "Service":
        return None
    chosen = world.selected(service.namespace, {**labels(service.resource.spec, "selector"), **wanted})
    counts = [pods.replicas for pods in chosen if pods.replicas is not None]
    return sum(counts) if counts and len(counts) == len(chosen) else None


def _subset_hosts(rule: Resource, world: World) -> list[int]:
    """The hosts of the subsets that take the host's outlier detection as it is."""
    found = [
        _hosts(rule, labels(subset, "labels"), world)
        for subset in maps(rule.spec, "subsets")
        if not has(child(subset, "trafficPolicy"), "outlierDetection")
    ]
    return [count for count in found if count is not None]


def _policy(policy: Map, hosts: int | None, subset_hosts: list[int]) -> Iterator[Finding]:
    if has(policy, "outlierDetection"):
        smallest = min(subset_hosts) if subset_hosts else hosts
        yield from _ejection(child(policy, "outlierDetection"), at(policy, "outlierDetection"), smallest)
    pool = child(policy, "connectionPool")
    for block, key in LIMITS:
        if number(pool, block, key) == 0:
            yield finding("SL-M404", at(child(pool, block), key), f"{key}: 0")
    pending = number(pool, "http", "http1MaxPendingRequests")
    if pending is not None and 0 < pending < FEW_PENDING:
        where = at(child(pool, "http"), "http1MaxPendingRequests")
        yield finding("SL-M403", where, f"only {pending:g} calls may wait for a connection")


def _ejection(node: Map, where: Position, hosts: int | None) -> Iterator[Finding]:
    five = number(node, "consecutive5xxErrors")
    others = [number(node, key) for key in ("consecutiveGatewayErrors", "consecutiveLocalOriginFailures")]
    if five == 0 and not any(others):
        yield finding(
            "SL-M402", at(node, "consecutive5xxErrors"), "consecutive5xxErrors: 0 and no other detector"
        )
        return
    percent = number(node, "maxEjectionPercent")
    value = DEFAULT_EJECTION if percent is None else percent
    said = f"maxEjectionPercent {value:g}" + ("" if percent is not None else " (the default)")
    at_field = at(node, "maxEjectionPercent") if percent is not None else where
    if value == 0:
        yield finding("SL-M401", at_field, f"{said} never ejects")
    elif hosts is not None and int(hosts * value / 100) == 0:
        yield finding("SL-M401", at_field, f"{said} of {hosts} host{'s' * (hosts != 1)} ejects none")
    elif hosts is None and value < 100:
        severity = Severity.WARNING if value < 50 else Severity.NOTE
        what = f"{said} ejects none of fewer than {ceil(100 / value)} hosts"
        yield finding("SL-M401", at_field, what, severity)


def _replaced(outer: Map, inner: Map, name: str) -> Iterator[Finding]:
    for block in BLOCKS:
        if not (has(outer, block) and has(inner, block)):
            continue
        lost = sorted(_leaves(child(outer, block)) - _leaves(child(inner, block)))
        if block != "loadBalancer" and lost:
            what = f"{block} of {name} replaces the host's: {', '.join(lost)} no longer apply there"
            yield finding("SL-M407", at(inner, block), what)


def _leaves(node: Map, prefix: str = "") -> set[str]:
    found = set()
    for key, value in node.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Map) else {prefix + key}
    return found


def _tls(policy: Map, rule: Resource, world: World) -> Iterator[Finding]:
    mode = text(policy, "tls", "mode")
    host = full_host(text(rule.spec, "host"), rule.namespace)
    namespace = host.split(".")[1] if host.endswith(".svc.cluster.local") else None
    if mode not in ("DISABLE", "SIMPLE") or namespace is None or "*" in namespace:
        return
    strict = [
        p
        for p in world.anywhere("PeerAuthentication")
        if p.namespace in (namespace, "istio-system") and text(p.spec, "mtls", "mode") == "STRICT"
    ]
    where = at(child(policy, "tls"), "mode")
    if strict:
        yield finding("SL-M405", where, f"tls.mode {mode} to {host}, where {strict[0]} is STRICT")
    elif mode == "DISABLE":
        what = f"tls.mode DISABLE to {host} switches automatic mTLS off"
        yield finding("SL-M405", where, what, Severity.WARNING)


def _same_host(world: World) -> Iterator[Finding]:
    for one, other in combinations(world.of("DestinationRule"), 2):
        hosts = [full_host(text(r.spec, "host"), r.namespace) for r in (one, other)]
        selectors = [labels(r.spec, "workloadSelector", "matchLabels") for r in (one, other)]
        variants = (one.namespace, one.name) == (other.namespace, other.name)
        if hosts[0] and hosts[0] == hosts[1] and selectors[0] == selectors[1] and not variants:
            if one.namespace != other.namespace:
                continue  # a caller's own rule beside the service's: looked up by namespace, not merged
            yield finding("SL-M406", at(other.spec, "host"), f"{one} ({one.at}) is for {hosts[0]} too")
