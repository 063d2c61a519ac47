"""Policies and gateways that protect less than they seem to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

from mesh.check.findings import Finding, Severity, finding
from mesh.check.nodes import at, child, has, labels, maps, number, text, texts
from mesh.check.world import World, hosts_overlap, is_grpc_path, selector
from mesh.resources import Map, Position, Resource

PRINCIPAL = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+")
CLAIMS = "@request.auth.claims"
ROOT = "istio-system"  # policies without selector there are for the whole mesh


def check(world: World) -> Iterator[Finding]:
    for resource in world.of("RequestAuthentication"):
        yield from _token_required(resource, world)
    for policy in world.of("AuthorizationPolicy"):
        yield from _policy(policy)
    for peer in world.of("PeerAuthentication"):
        yield from _peer(peer)
    for service in world.of("VirtualService"):
        yield from _claims(service, world)
    gateways = [g for g in world.of("Gateway") if g.group == "networking.istio.io"]
    for gateway in gateways:
        yield from _servers(gateway)
    for one, other in combinations(gateways, 2):
        yield from _same_server(one, other)


def _token_required(resource: Resource, world: World) -> Iterator[Finding]:
    if not maps(resource.spec, "jwtRules"):
        return
    for policy in world.anywhere("AuthorizationPolicy"):
        if _applies(policy, resource) and _requires_token(policy):
            return
    what = f"no AuthorizationPolicy of these files asks {resource}'s pods for a token"
    yield finding("SL-M501", at(resource.spec, "jwtRules"), what)


def _applies(policy: Resource, resource: Resource) -> bool:
    """Whether a policy is for (some of) the pods of another resource."""
    _, theirs = selector(resource.spec)
    _, ours = selector(policy.spec)
    if _targets(policy) or _targets(resource):
        return _targets(policy) == _targets(resource) and policy.namespace == resource.namespace
    same_namespace = policy.namespace in (resource.namespace, ROOT)
    return same_namespace and (
        not ours or not theirs or ours.items() <= theirs.items() or theirs.items() <= ours.items()
    )


def _targets(resource: Resource) -> set[tuple[str, str]]:
    found = [*maps(resource.spec, "targetRefs"), child(resource.spec, "targetRef")]
    return {(text(ref, "kind"), text(ref, "name")) for ref in found if ref}


def _requires_token(policy: Resource) -> bool:
    action = text(policy.spec, "action") or "ALLOW"
    rules = maps(policy.spec, "rules")
    if action == "DENY":
        return any(_source_has(rule, "notRequestPrincipals") for rule in rules)
    asks = [rule for rule in rules if _source_has(rule, "requestPrincipals") or _when_claims(rule)]
    return action == "ALLOW" and bool(asks)


def _source_has(rule: Map, key: str) -> bool:
    return any(texts(entry, "source", key) for entry in maps(rule, "from"))


def _when_claims(rule: Map) -> bool:
    return any(text(c, "key").startswith("request.auth.") and texts(c, "values") for c in maps(rule, "when"))


def _policy(policy: Resource) -> Iterator[Finding]:
    action = text(policy.spec, "action") or "ALLOW"
    rules = maps(policy.spec, "rules")
    if action != "ALLOW" and not rules:
        yield finding("SL-M505", policy.at, f"{policy}: {action} without rules")
    for rule in rules:
        if action == "ALLOW" and not rule:
            yield finding("SL-M502", rule.at, f"{policy}: an empty rule")
        for entry in maps(rule, "from"):
            for key in ("principals", "notPrincipals"):
                for principal, where in texts(entry, "source", key):
                    yield from _principal(principal, where)
        for entry in maps(rule, "to"):
            yield from _operation(child(entry, "operation"))


def _principal(principal: str, where: Position) -> Iterator[Finding]:
    whole = "*" not in principal
    if principal.startswith("spiffe://") or (whole and not PRINCIPAL.fullmatch(principal)):
        yield finding("SL-M503", where, f"{principal!r} is no TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")


def _operation(operation: Map) -> Iterator[Finding]:
    paths, methods = texts(operation, "paths"), [m for m, _ in texts(operation, "methods")]
    for path, where in paths:
        if is_grpc_path("/" + path):
            yield finding("SL-M504", where, f"{path!r} has no leading slash")
    if paths and all(is_grpc_path(p) for p, _ in paths) and methods and not {"POST", "*"} & set(methods):
        what = f"methods {', '.join(methods)} on {paths[0][0]}"
        yield finding("SL-M504", at(operation, "methods"), what)


def _peer(peer: Resource) -> Iterator[Finding]:
    _, selected = selector(peer.spec)
    if has(peer.spec, "portLevelMtls") and not selected:
        yield finding("SL-M508", at(peer.spec, "portLevelMtls"), f"{peer} has no selector")
    ports = child(peer.spec, "portLevelMtls")
    for node in [child(peer.spec, "mtls"), *(child(ports, key) for key in ports)]:
        if text(node, "mode") in ("PERMISSIVE", "DISABLE"):
            yield finding("SL-M506", at(node, "mode"), f"{peer}: mode {text(node, 'mode')}")


def _claims(service: Resource, world: World) -> Iterator[Finding]:
    gateways = [g for g, _ in texts(service.spec, "gateways")]
    for match in [m for rule in maps(service.spec, "http") for m in maps(rule, "match")]:
        for key in ("headers", "withoutHeaders"):
            for name in child(match, key):
                if name.startswith(CLAIMS):
                    yield from _claim(service, gateways, match, key, name, world)


def _claim(
    service: Resource, gateways: list[str], match: Map, key: str, name: str, world: World
) -> Iterator[Finding]:
    where = at(child(match, key), name)
    if not [g for g in gateways if g != "mesh"]:
        yield finding("SL-M507", where, f"{name} in a VirtualService of the mesh, not of a gateway")
        return
    names = {g if "/" in g else f"{service.namespace}/{g}" for g in gateways}
    found = [
        g for g in world.anywhere("Gateway", "networking.istio.io") if f"{g.namespace}/{g.name}" in names
    ]
    for gateway in found:
        pods = labels(gateway.spec, "selector")
        if not any(
            selector(r.spec)[1].items() <= pods.items() for r in world.anywhere("RequestAuthentication")
        ):
            what = f"{name}: no RequestAuthentication of these files is for the pods of {gateway}"
            yield finding("SL-M507", where, what)


def _servers(gateway: Resource) -> Iterator[Finding]:
    # What reaches an egress gateway comes from sidecars, over mTLS.
    outside = not any("egress" in value for value in labels(gateway.spec, "selector").values())
    for server in maps(gateway.spec, "servers"):
        protocol, tls = text(server, "port", "protocol").upper(), child(server, "tls")
        mode = text(tls, "mode")
        if protocol in ("HTTPS", "TLS") and not has(server, "tls"):
            yield finding("SL-M509", server.at, f"{gateway}: a server of {protocol} without tls")
        elif protocol in ("HTTPS", "TLS") and mode in ("", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
            certificate = any(has(tls, k) for k in ("credentialName", "credentialNames", "serverCertificate"))
            if not certificate and not has(tls, "tlsCertificates"):
                yield finding(
                    "SL-M509", at(server, "tls"), f"{gateway}: tls.mode {mode or 'SIMPLE'}, no credentialName"
                )
        if outside and protocol in ("HTTP", "HTTP2", "GRPC") and tls.get("httpsRedirect") is not True:
            yield finding(
                "SL-M511",
                server.at,
                f"{gateway}: {protocol} on port {number(server, 'port', 'number') or 0:g}",
            )


def _same_server(one: Resource, other: Resource) -> Iterator[Finding]:
    if (one.namespace, one.name) == (other.namespace, other.name):
        return
    if labels(one.spec, "selector") != labels(other.spec, "selector"):
        return
    for server in maps(other.spec, "servers"):
        for theirs in maps(one.spec, "servers"):
            if number(server, "port", "number") != number(theirs, "port", "number"):
                continue
            for host, where in texts(server, "hosts"):
                if any(_host_overlap(host, h) for h, _ in texts(theirs, "hosts")):
                    port = number(server, "port", "number") or 0
                    what = f"{one} ({one.at}) serves {host} on port {port:g} too"
                    yield finding("SL-M510", where, what, Severity.WARNING)


def _host_overlap(one: str, other: str) -> bool:
    (spaces_one, _, host_one), (spaces_other, _, host_other) = one.rpartition("/"), other.rpartition("/")
    free = {"", "*"}
    spaces = spaces_one == spaces_other or spaces_one in free or spaces_other in free
    return spaces and hosts_overlap(host_one, host_other)
