"""AuthorizationPolicy to Envoy's RBAC filters: DENY before ALLOW, with istiod's policy names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from mesh.render.context import Context, Json, any_of, string_match
from mesh.render.fields import Fields
from mesh.resources import MeshError, Position

ANY: Json = {"any": True}
JWT = "envoy.filters.http.jwt_authn"


def rbac_filters(ctx: Context, labels: Mapping[str, str], namespace: str, port: int) -> list[Json]:
    """The filters for a workload's port, the first that must pass first; none where no policy selects it."""
    by_action: dict[str, Json] = {}
    for resource in ctx.of("AuthorizationPolicy"):
        if not ctx.selects(resource, labels, namespace):
            continue
        with ctx.spec(resource) as spec:
            spec.take("selector")
            action = spec.text("action", "ALLOW", choices=("ALLOW", "DENY"))
            policies = by_action.setdefault(action, {})
            for index, rule in enumerate(spec.each("rules")):
                name = f"ns[{resource.namespace}]-policy[{resource.name}]-rule[{index}]"
                policies[name] = _rule(rule, port, ctx.topology.domain)
    return [
        {
            "name": "envoy.filters.http.rbac",
            "typed_config": any_of(
                "filters.http.rbac.v3.RBAC",
                rules={"action": action, "policies": by_action[action]},
                rules_stat_prefix=f"{action.lower()}_",
            ),
        }
        for action in ("DENY", "ALLOW")
        if action in by_action
    ]


def _rule(rule: Fields, port: int, domain: str) -> Json:
    """A rule: any of its sources, doing any of its operations, when all of its conditions hold."""
    with rule:
        sources, operations = [], []
        for entry in rule.each("from"):
            with entry:
                sources.append(_source(entry.fields("source"), domain))
        for entry in rule.each("to"):
            with entry:
                operations.append(_operation(entry.fields("operation"), port))
        principals: list[Json] = []
        permissions: list[Json] = []
        for condition in rule.each("when"):
            _condition(condition, port, domain, principals, permissions)
    return {
        "permissions": [_all("rules", [*one, *permissions]) for one in operations or [[]]],
        "principals": [_all("ids", [*one, *principals]) for one in sources or [[]]],
    }


def _all(kind: str, parts: list[Json]) -> Json:
    return {f"and_{kind}": {kind: parts}} if parts else ANY


def _tests(fields: Fields, key: str, kind: str, test: Callable[[str], Json]) -> list[Json]:
    """`key` (any of its values) and `notKey` (none of them)."""
    negative = f"not{key[0].upper()}{key[1:]}"
    found: list[Json] = []
    if values := fields.texts(key):
        found.append({f"or_{kind}": {kind: [test(value) for value in values]}})
    if values := fields.texts(negative):
        inner = {f"or_{kind}": {kind: [test(value) for value in values]}}
        found.append({f"not_{kind[:-1]}": inner})
    return found


def _source(fields: Fields, domain: str) -> list[Json]:
    at = fields.at()
    with fields:
        return [
            *_tests(fields, "principals", "ids", _principal),
            *_tests(fields, "serviceAccounts", "ids", lambda v: _service_account(v, domain, at)),
            *_tests(fields, "namespaces", "ids", _namespace),
            *_tests(fields, "requestPrincipals", "ids", _request_principal),
            *_tests(fields, "ipBlocks", "ids", lambda v: {"direct_remote_ip": _cidr(v, at)}),
            *_tests(fields, "remoteIpBlocks", "ids", lambda v: {"remote_ip": _cidr(v, at)}),
        ]


def _operation(fields: Fields, port: int) -> list[Json]:
    at = fields.at()
    with fields:
        return [
            *_tests(fields, "hosts", "rules", lambda v: _header(":authority", v, ignore_case=True)),
            *_tests(fields, "methods", "rules", lambda v: _header(":method", v)),
            *_tests(fields, "paths", "rules", lambda v: _path(v, at)),
            # In a cluster this is the port the request came in on; here the Service's port stands for it.
            *_tests(fields, "ports", "rules", lambda v: ANY if v == str(port) else {"not_rule": ANY}),
        ]


def _principal(value: str) -> Json:
    matcher = string_match(value)
    for kind in ("exact", "prefix"):
        if kind in matcher:
            matcher = {kind: f"spiffe://{matcher[kind]}"}
    return {"authenticated": {"principal_name": matcher}}


def _service_account(value: str, domain: str, at: Position) -> Json:
    namespace, slash, account = value.partition("/")
    if not slash:
        raise MeshError(f"{at}: serviceAccounts: {value}: expected namespace/name")
    return {"authenticated": {"principal_name": {"exact": f"spiffe://{domain}/ns/{namespace}/sa/{account}"}}}


def _namespace(value: str) -> Json:
    pattern = ".*".join(re.escape(part) for part in value.split("*"))
    return {"authenticated": {"principal_name": {"safe_regex": {"regex": f".*/ns/{pattern}/.*"}}}}


def _cidr(value: str, at: Position) -> Json:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise MeshError(f"{at}: {error}") from None
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def _path(value: str, at: Position) -> Json:
    if "{" in value:
        raise MeshError(f"{at}: paths: {value}: path templates are not translated for the local mesh")
    return {"url_path": {"path": string_match(value)}}


def _header(name: str, value: str, ignore_case: bool = False) -> Json:
    matcher = string_match(value)
    if ignore_case and "safe_regex" not in matcher:
        matcher["ignore_case"] = True
    return {"header": {"name": name, "string_match": matcher}}


def _claim(keys: list[str], matcher: Json) -> Json:
    """A test on a claim that jwt_authn verified: its text, or an entry of its list."""
    values = [{"string_match": matcher}, {"list_match": {"one_of": {"string_match": matcher}}}]
    return {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": JWT,
                "path": [{"key": key} for key in ["payload", *keys]],
                "value": {"or_match": {"value_matchers": values}},
            }
        }
    }


def _request_principal(value: str) -> Json:
    """`issuer/subject`, with a wildcard at either end; `*` is any token."""
    if value == "*":
        issuer, subject = {"safe_regex": {"regex": ".+"}}, {"safe_regex": {"regex": ".+"}}
    else:
        head, _, tail = value.rpartition("/")
        issuer, subject = string_match(head or "*"), string_match(tail or "*")
    return {"and_ids": {"ids": [_claim(["iss"], issuer), _claim(["sub"], subject)]}}


def _condition(
    fields: Fields, port: int, domain: str, principals: list[Json], permissions: list[Json]
) -> None:
    """One `when`: a test on the caller goes to `principals`, one on what is asked to `permissions`."""
    with fields:
        key = fields.text("key")
        inner = re.findall(r"\[([^\]]+)\]", key)
        at = fields.at("key")
        by_caller: dict[str, Callable[[str], Json]] = {
            "source.principal": _principal,
            "source.namespace": _namespace,
            "source.ip": lambda v: {"direct_remote_ip": _cidr(v, at)},
            "remote.ip": lambda v: {"remote_ip": _cidr(v, at)},
            "request.auth.principal": _request_principal,
            "request.auth.audiences": lambda v: _claim(["aud"], string_match(v)),
            "request.auth.presenter": lambda v: _claim(["azp"], string_match(v)),
            "request.auth.claims": lambda v: _claim(inner, string_match(v)),
            "request.headers": lambda v: _header(inner[0], v),
        }
        name = key.partition("[")[0]
        if bool(inner) != (name in {"request.auth.claims", "request.headers"}):
            raise fields.fail("key", f"{key} is not a condition that Istio knows")
        if name in by_caller:
            principals += _tests(fields, "values", "ids", by_caller[name])
        elif name == "destination.port":
            permissions += _tests(
                fields, "values", "rules", lambda v: ANY if v == str(port) else {"not_rule": ANY}
            )
        else:
            raise fields.fail("key", f"{key} is not translated for the local mesh")
