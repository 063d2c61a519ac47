"""VirtualService to Envoy's routes, with istiod's defaults for gRPC."""

from __future__ import annotations

from mesh.render.context import Context, Json, cluster_name
from mesh.render.fields import Fields
from mesh.render.matching import Scope, is_catch_all, route_match
from mesh.render.route_policies import fault, fraction, headers, retries, timeout
from mesh.resources import MeshError, Resource


def default_route(cluster: str) -> Json:
    """The route to a service that has no VirtualService."""
    action = {**timeout(None), "cluster": cluster, "retry_policy": retries(None)}
    return {"name": "default", "match": {"prefix": "/"}, "route": action}


def routes(resource: Resource, ctx: Context, scope: Scope) -> list[Json]:
    """The routes of a VirtualService for one proxy and port, in order; none after a catch-all."""
    found: list[Json] = []
    with ctx.spec(resource) as spec:
        (
            spec.take("hosts"),
            spec.take("gateways"),
        )  # they choose the proxies and virtual hosts that get the routes
        spec.only_in_cluster("every resource given is visible to the local mesh", "exportTo")
        for http in spec.each("http"):
            found += _http(http, resource, ctx, scope)
    for index, route in enumerate(found):
        if is_catch_all(route["match"]):
            return found[: index + 1]
    return found


def _http(http: Fields, resource: Resource, ctx: Context, scope: Scope) -> list[Json]:
    """One HTTPRoute: a route for each of its matches."""
    with http:
        name = http.text("name")
        matches = [route_match(one, ctx, scope, resource.namespace) for one in http.each("match")]
        if "match" not in http:
            matches = [("", {"prefix": "/"})]
        found: Json = {}
        if "directResponse" in http:
            found["direct_response"] = _direct_response(http.fields("directResponse"))
        else:
            found["route"] = _action(http, resource, ctx, scope)
        for key, operations in headers(http.fields("headers")).items():
            found[key] = operations
        if "fault" in http:
            found["typed_per_filter_config"] = {"envoy.filters.http.fault": fault(http.fields("fault"))}
    if (destination_headers := found.get("route", {}).pop("_headers", None)) is not None:
        for key, operations in destination_headers.items():
            found[key] = found.get(key, []) + operations
    return [
        {"name": ".".join(filter(None, [name, match[0]])) or "default", "match": match[1], **found}
        for match in matches
        if match is not None
    ]


def _direct_response(fields: Fields) -> Json:
    with fields:
        found: Json = {"status": fields.integer("status", low=200, high=599)}
        if "body" in fields:
            with fields.fields("body") as body:
                found["body"] = {"inline_string": body.text("string")}
    return found


def _action(http: Fields, resource: Resource, ctx: Context, scope: Scope) -> Json:
    """RouteAction: where to, for how long, how often, and who sees a copy."""
    found = {**timeout(http.duration("timeout")), **_destinations(http, resource, ctx, scope)}
    if (policy := retries(http.fields("retries") if "retries" in http else None)) is not None:
        found["retry_policy"] = policy
    if mirrors := _mirrors(http, resource, ctx, scope):
        found["request_mirror_policies"] = mirrors
    if "rewrite" in http:
        with http.fields("rewrite") as rewrite:
            if uri := rewrite.text("uri"):
                found["prefix_rewrite"] = uri
            if authority := rewrite.text("authority"):
                found["host_rewrite_literal"] = authority
    return found


def _destinations(http: Fields, resource: Resource, ctx: Context, scope: Scope) -> Json:
    """A plain cluster for one destination (its weight has no effect), weighted_clusters for more."""
    weighted: list[Json] = []
    for entry in http.each("route"):
        with entry:
            name = destination(entry.fields("destination"), resource, ctx, scope)
            weight = entry.integer("weight", 0) or 0
            weighted.append({"name": name, "weight": weight, **headers(entry.fields("headers"))})
    if not weighted:
        raise http.fail("route", "a route needs at least one destination")
    if len(weighted) == 1:
        only = weighted[0]
        extra = {key: value for key, value in only.items() if key not in {"name", "weight"}}
        return {"cluster": only["name"], "_headers": extra}
    if sum(entry["weight"] for entry in weighted) == 0:
        raise http.fail("route", "the weights add up to 0; istiod refuses that")
    return {"weighted_clusters": {"clusters": [entry for entry in weighted if entry["weight"] > 0]}}


def destination(fields: Fields, resource: Resource, ctx: Context, scope: Scope) -> str:
    """The name of a Destination's cluster. Raises MeshError for a host, port or subset not there."""
    with fields:
        host, subset = fields.text("host"), fields.text("subset")
        service = ctx.service(fields, "host", host, resource.namespace)
        with fields.fields("port") as port_fields:
            port = port_fields.integer("number", low=1, high=65535)
        if port is None:
            port = next(iter(service.ports)) if len(service.ports) == 1 else scope.port
        if port not in service.ports:
            known = ", ".join(map(str, service.ports))
            raise fields.fail("port", f"{service.host} has no port {port} (it has {known})")
        if subset and subset not in (known_subsets := ctx.subsets(service.host)):
            listed = ", ".join(known_subsets) or "none"
            raise fields.fail("subset", f"no DestinationRule defines {subset} for {service.host} ({listed})")
        return cluster_name(port, subset, service.host)


def _mirrors(http: Fields, resource: Resource, ctx: Context, scope: Scope) -> list[Json]:
    """`mirror` with `mirrorPercentage`, or `mirrors`; all of the requests where no percentage is given."""
    found = []
    if "mirror" in http:
        percent = http.percent("mirrorPercentage", 100.0)
        found.append((destination(http.fields("mirror"), resource, ctx, scope), percent))
    for entry in http.each("mirrors"):
        with entry:
            percent = entry.percent("percentage", 100.0)
            found.append((destination(entry.fields("destination"), resource, ctx, scope), percent))
    return [
        {
            "cluster": cluster,
            "runtime_fraction": {"default_value": fraction(percent)},
            "trace_sampled": False,
            "disable_shadow_host_suffix_append": True,
        }
        for cluster, percent in found
        if percent
    ]


def hosts_of(resource: Resource) -> list[str]:
    """The hosts of a VirtualService, as written."""
    hosts = resource.spec.get("hosts")
    if not isinstance(hosts, list) or not hosts:
        raise MeshError(f"{resource.at}: {resource} has no hosts")
    return [str(host) for host in hosts]


def gateways_of(resource: Resource) -> list[str]:
    """The gateways a VirtualService is for; without any it is for the sidecars."""
    gateways = resource.spec.get("gateways")
    return [str(gateway) for gateway in gateways] if isinstance(gateways, list) else ["mesh"]
