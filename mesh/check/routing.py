"""VirtualServices that say something else than they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations

from mesh.check.findings import Finding, Severity, finding
from mesh.check.nodes import at, child, has, maps, number, text, texts
from mesh.check.world import World, full_host, is_internal
from mesh.resources import Map, Resource

IGNORED_HEADERS = ("uri", "scheme", "method", "authority")
ENDS = ("route", "redirect", "directResponse", "delegate")


def check(world: World) -> Iterator[Finding]:
    for service in world.of("VirtualService"):
        rules = maps(service.spec, "http")
        split = _split_over_rules(service, rules)
        yield from split
        for rule in [r for key in ("http", "tls", "tcp") for r in maps(service.spec, key)]:
            yield from _weights(rule, single=not split)
        yield from _unreachable(rules)
        yield from _rules(service, rules, world)
        yield from _without_mesh(service, world)
    yield from _same_host(world)


def _split_over_rules(service: Resource, rules: list[Map]) -> list[Finding]:
    """Several rules, each with one weighted destination, to subsets of one host: meant as a split."""
    parts = []
    for rule in rules:
        route = maps(rule, "route")
        weight = number(route[0], "weight") if len(route) == 1 else None
        if weight is not None and weight < 100:
            parts.append(
                (full_host(text(route[0], "destination", "host"), service.namespace), weight, route[0])
            )
    for host in {part[0] for part in parts}:
        same = [part for part in parts if part[0] == host]
        if len(same) > 1:
            weights = ", ".join(f"{w:g}" for _, w, _ in same)
            what = f"{len(same)} rules with one destination each share {host} by weights {weights}: no split at all"
            return [finding("SL-M202", at(same[0][2], "weight"), what)]
    return []


def _weights(rule: Map, single: bool) -> Iterator[Finding]:
    route = maps(rule, "route")
    weights = [number(entry, "weight") for entry in route]
    if len(route) == 1:
        if single and weights[0] is not None and weights[0] not in (0, 100):
            what = f"weight {weights[0]:g} on the only destination of this route: it gets 100 %"
            yield finding("SL-M201", at(route[0], "weight"), what)
        return
    total = sum(w or 0 for w in weights)
    if len(route) > 1 and total == 0:
        yield finding("SL-M205", at(rule, "route"), "the weights add up to 0", Severity.ERROR)
    elif len(route) > 1 and total != 100:
        shares = ", ".join(f"{(w or 0) / total:.1%}" for w in weights)
        yield finding("SL-M205", at(rule, "route"), f"the weights add up to {total:g}: shares are {shares}")


def _unreachable(rules: list[Map]) -> Iterator[Finding]:
    """Rules behind one that takes everything they could match."""
    for index, rule in enumerate(rules):
        for earlier in rules[:index]:
            if all(any(_covers(e, m) for e in _matches(earlier)) for m in _matches(rule)):
                name = text(rule, "name") or f"number {index + 1}"
                what = (
                    f"rule {name} is never reached: the rule at line {earlier.at.line} takes all of its calls"
                )
                # Dead all the same, but nobody is led elsewhere than the rule says.
                harmless = json.dumps(rule.get("route")) == json.dumps(earlier.get("route"))
                yield finding("SL-M204", rule.at, what, Severity.WARNING if harmless else None)
                break


def _matches(rule: Map) -> list[Map]:
    """A rule without matches takes everything: one empty match."""
    found = maps(rule, "match")
    return found if found else [Map(rule.at)]


def _covers(wide: Map, narrow: Map) -> bool:
    """Whether every condition of `wide` is one of `narrow` too (headers one by one, prefixes by length)."""
    for key, value in wide.items():
        if key in ("name", "statPrefix") or value is None:
            continue
        other = narrow.get(key)
        if key in ("headers", "withoutHeaders", "queryParams", "sourceLabels") and isinstance(value, Map):
            inner = child(narrow, key)
            if any(json.dumps(v) != json.dumps(inner.get(k)) or k not in inner for k, v in value.items()):
                return False
        elif key == "uri" and isinstance(value, Map) and isinstance(other, Map):
            prefix, exact = text(value, "prefix"), text(other, "exact") or text(other, "prefix")
            if value != other and not (prefix and exact.startswith(prefix)):
                return False
        elif other != value:
            return False
    return True


def _rules(service: Resource, rules: list[Map], world: World) -> Iterator[Finding]:
    if not any(service.spec.get(key) for key in ("http", "tls", "tcp")):
        yield finding("SL-M209", at(service.body, "spec"), f"{service} has no rules: none of http, tls, tcp")
    for rule in rules:
        if not any(has(rule, key) for key in ENDS):
            yield finding("SL-M209", rule.at, "this rule has none of " + ", ".join(ENDS))
        for match in maps(rule, "match"):
            headers = child(match, "headers")
            for name in headers:
                if name in IGNORED_HEADERS:
                    yield finding("SL-M208", at(headers, name), f"{name} as a header is ignored")
        yield from _every_port(service, rule, world)


def _every_port(service: Resource, rule: Map, world: World) -> Iterator[Finding]:
    gateways = [g for g, _ in texts(service.spec, "gateways")]
    if gateways and "mesh" not in gateways:
        return
    for host, _ in texts(service.spec, "hosts"):
        found = world.service(full_host(host, service.namespace))
        if (
            found is None
            or len(found.ports) < 2
            or all(has(m, "port") for m in maps(rule, "match") or [Map(rule.at)])
        ):
            continue
        ports = {number(entry, "destination", "port", "number") for entry in maps(rule, "route")} - {None}
        if len(ports) == 1:
            all_ports = ", ".join(str(p.number) for p in found.ports)
            what = f"{found.host} has the ports {all_ports}; this rule sends them all to {ports.pop():g}"
            yield finding("SL-M206", rule.at, what)
            return


def _without_mesh(service: Resource, world: World) -> Iterator[Finding]:
    gateways = [g for g, _ in texts(service.spec, "gateways")]
    hosts = [full_host(host, service.namespace) for host, _ in texts(service.spec, "hosts")]
    inside = [host for host in hosts if is_internal(host)]
    if not gateways or "mesh" in gateways or not inside:
        return
    # Beside an outside name it may be meant for the gateway alone; with nothing but Services it hardly is.
    severity = Severity.ERROR if len(inside) == len(hosts) else Severity.WARNING
    what = f"{inside[0]} is a Service, but these rules apply at {', '.join(gateways)} only"
    yield finding("SL-M203", at(service.spec, "gateways"), what, severity)


def _same_host(world: World) -> Iterator[Finding]:
    """Files with the same object's name are variants of it, not two of them."""
    for one, other in combinations(world.of("VirtualService"), 2):
        if (one.namespace, one.name) == (other.namespace, other.name):
            continue
        shared = _gateways(one) & _gateways(other)
        for host, where in texts(other.spec, "hosts"):
            theirs = [full_host(h, one.namespace) for h, _ in texts(one.spec, "hosts")]
            same = full_host(host, other.namespace) in theirs
            if not same or not shared:
                continue
            what = f"{one} ({one.at}) has the host {host} too, at {', '.join(sorted(shared))}"
            if "mesh" in shared:
                yield finding("SL-M207", where, what)
            elif host != "*":  # routes of one gateway are merged; with * they are meant to be
                yield finding("SL-M207", where, what, Severity.WARNING)


def _gateways(service: Resource) -> set[str]:
    names = [g for g, _ in texts(service.spec, "gateways")] or ["mesh"]
    return {g if g == "mesh" or "/" in g else f"{service.namespace}/{g}" for g in names}
