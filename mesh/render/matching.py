"""VirtualService `match[]` to Envoy's RouteMatch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mesh.render.context import Context, Json, matches_labels
from mesh.render.fields import Fields
from mesh.resources import Map

CLAIMS = "@request.auth.claims"


@dataclass(frozen=True, slots=True)
class Scope:
    """The proxy that routes are made for: `gateway` is "mesh" or "namespace/name"."""

    gateway: str
    port: int
    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = ""


def route_match(match: Fields, ctx: Context, scope: Scope, own_namespace: str) -> tuple[str, Json] | None:
    """The name and RouteMatch of one entry, or None where it is for another port, gateway or source."""
    with match:
        name = match.text("name")
        here = _in_scope(match, scope, own_namespace)
        found: Json = _path(match)
        headers: list[Json] = []
        metadata: list[Json] = []
        for key, pseudo in (("method", ":method"), ("scheme", ":scheme"), ("authority", ":authority")):
            if key in match:
                headers.append({"name": pseudo, **_header(match.fields(key))})
        for key, inverted in (("headers", False), ("withoutHeaders", True)):
            for header, one in _entries(match, key):
                if header.startswith(CLAIMS):
                    metadata.append(_claim(header, one, inverted))
                else:
                    test = _header(one)
                    headers.append({"name": header, **test, **({"invert_match": True} if inverted else {})})
        queries = [
            {"name": key, **_header(one, "string_match")} for key, one in _entries(match, "queryParams")
        ]
    for key, value in (("headers", headers), ("dynamic_metadata", metadata), ("query_parameters", queries)):
        if value:
            found[key] = value
    return (name, found) if here else None


def is_catch_all(match: Json) -> bool:
    """Whether a route with this match leaves nothing for those after it."""
    return match == {"prefix": "/"}


def _in_scope(match: Fields, scope: Scope, own_namespace: str) -> bool:
    port = match.integer("port", low=1, high=65535)
    gateways = [qualified(name, own_namespace) for name in match.texts("gateways")]
    labels, namespace = match.mapping("sourceLabels"), match.text("sourceNamespace")
    mesh = scope.gateway == "mesh"
    return (
        port in {None, scope.port}
        and (not gateways or scope.gateway in gateways)
        and (not labels or (mesh and matches_labels(labels, dict(scope.labels))))
        and (not namespace or (mesh and namespace == scope.namespace))
    )


def qualified(gateway: str, namespace: str) -> str:
    """A gateway's name with its namespace; "mesh" stands for the sidecars."""
    return gateway if gateway == "mesh" or "/" in gateway else f"{namespace}/{gateway}"


def _path(match: Fields) -> Json:
    ignore_case = match.boolean("ignoreUriCase")
    found: Json = {"prefix": "/"}
    if "uri" in match:
        kind, text = _one_of(match.fields("uri"))
        found = (
            {"safe_regex": {"regex": text}} if kind == "regex" else {{"exact": "path"}.get(kind, kind): text}
        )
    return {**found, "case_sensitive": False} if ignore_case else found


def _one_of(fields: Fields) -> tuple[str, str]:
    """A StringMatch: exactly one of exact, prefix and regex."""
    with fields:
        given = [(key, fields.text(key)) for key in ("exact", "prefix", "regex") if key in fields]
    if len(given) != 1:
        raise fields.fail("exact", "expected exactly one of exact, prefix and regex")
    return given[0]


def _header(fields: Fields, key: str = "string_match") -> Json:
    """A header's test; an empty match, or the regex `*`, only asks that it is there."""
    if not fields.node:
        return {"present_match": True}
    kind, text = _one_of(fields)
    if kind == "regex" and text in {"*", ""}:
        return {"present_match": True}
    return {key: {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}}


def _entries(match: Fields, key: str) -> list[tuple[str, Fields]]:
    value: Any = match.take(key)
    if value is None:
        return []
    if not isinstance(value, Map):
        raise match.fail(key, "expected a mapping of names to matches")
    found = []
    for name, one in value.items():
        at = value.key_at.get(name, value.at)
        one = Map(at) if one is None else one
        found.append((name, Fields(one, f"{match.where}.{key}[{name}]", match.report, at)))
    return found


def _claim(header: str, one: Fields, inverted: bool) -> Json:
    """`@request.auth.claims.a`, or `[a][b]` for claims with dots: a test on what jwt_authn left behind."""
    rest = header[len(CLAIMS) :]
    keys = re.findall(r"\[([^\]]+)\]", rest) if rest.startswith("[") else rest.lstrip(".").split(".")
    kind, text = _one_of(one)
    value: Json = {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}
    matcher: Json = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": key} for key in ["payload", *keys]],
        "value": {
            "or_match": {
                "value_matchers": [
                    {"string_match": value},
                    {"list_match": {"one_of": {"string_match": value}}},
                ]
            }
        },
    }
    return {**matcher, "invert": True} if inverted else matcher
