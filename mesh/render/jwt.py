"""RequestAuthentication to Envoy's jwt_authn filter."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mesh.render.context import Context, Json, any_of
from mesh.render.fields import Fields


def jwt_filter(ctx: Context, labels: Mapping[str, str], namespace: str) -> Json | None:
    """The filter for a workload, or None. A bad token is refused; a missing one passes, as in Istio."""
    providers: dict[str, Json] = {}
    for resource in ctx.of("RequestAuthentication"):
        if not ctx.selects(resource, labels, namespace):
            continue
        with ctx.spec(resource) as spec:
            spec.take("selector")
            for rule in spec.each("jwtRules"):
                providers[f"origins-{len(providers)}"] = _provider(rule, ctx)
    if not providers:
        return None
    requirements: list[Json] = [{"provider_name": name} for name in providers]
    requires = {"requires_any": {"requirements": [*requirements, {"allow_missing": {}}]}}
    config = any_of(
        "filters.http.jwt_authn.v3.JwtAuthentication",
        providers=providers,
        rules=[{"match": {"prefix": "/"}, "requires": requires}],
        bypass_cors_preflight=True,
    )
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": config}


def _provider(rule: Fields, ctx: Context) -> Json:
    with rule:
        issuer = rule.text("issuer")
        found: Json = {"issuer": issuer, "payload_in_metadata": "payload", "clear_route_cache": True}
        if audiences := rule.texts("audiences"):
            found["audiences"] = audiences
        found["local_jwks"] = {"inline_string": _keys(rule, issuer, ctx)}
        found["forward"] = rule.boolean("forwardOriginalToken")
        if header := rule.text("outputPayloadToHeader"):
            found["forward_payload_header"] = header
        if parameters := rule.texts("fromParams"):
            found["from_params"] = parameters
        if cookies := rule.texts("fromCookies"):
            found["from_cookies"] = cookies
        for entry in rule.each("fromHeaders"):
            with entry:
                one = {"name": entry.text("name"), "value_prefix": entry.text("prefix")}
                found.setdefault("from_headers", []).append(one)
        for entry in rule.each("outputClaimToHeaders"):
            with entry:
                claim = {"header_name": entry.text("header"), "claim_name": entry.text("claim")}
                found.setdefault("claim_to_headers", []).append(claim)
        rule.only_in_cluster("the keys are at hand, none is fetched", "timeout")
    return found


def _keys(rule: Fields, issuer: str, ctx: Context) -> str:
    """The issuer's public keys: the local ones where this mesh issues its tokens, else those in the file."""
    inline = rule.text("jwks")
    if issuer in ctx.topology.jwks:
        rule.only_in_cluster("tokens of this issuer come from `sightline mesh token` here", "jwksUri", "jwks")
        return ctx.topology.jwks[issuer]
    if not inline:
        raise rule.fail("issuer", f"no keys here for {issuer}; jwksUri is not fetched by the local mesh")
    try:
        json.loads(inline)
    except ValueError as error:
        raise rule.fail("jwks", f"not JSON: {error}") from None
    return inline
