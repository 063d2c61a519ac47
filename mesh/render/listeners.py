"""The listeners of the three roles: ingress (the gateway), outbound (the caller's sidecar), inbound (a server's)."""

from __future__ import annotations

from mesh.render.clusters import Caller, inbound_cluster, named_clusters, outbound_clusters
from mesh.render.context import Context, Json, any_of, cluster_name
from mesh.render.envoyfilter import MANAGER, Proxy, apply_envoy_filters
from mesh.render.jwt import jwt_filter
from mesh.render.matching import Scope
from mesh.render.mesh_config import NORMALIZATIONS
from mesh.render.peers import peer_mode
from mesh.render.rbac import rbac_filters
from mesh.render.routes import default_route, gateways_of, hosts_of, routes
from mesh.render.sidecar import visible_services
from mesh.render.telemetry import access_log
from mesh.render.tls import LOGS, PLACEHOLDER, inbound_tls, path_source
from mesh.render.topology import Address, Service, Workload
from mesh.resources import MeshError, Resource

LOCAL_NAMES = [
    "127.0.0.1",
    "localhost",
    "[::1]",
]  # what a caller on this machine dials: it has no cluster DNS
FAULT = {"name": "envoy.filters.http.fault", "typed_config": any_of("filters.http.fault.v3.HTTPFault")}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": any_of("filters.http.router.v3.Router")}
GRPC_STATS = {
    "name": "envoy.filters.http.grpc_stats",
    "typed_config": any_of(
        "filters.http.grpc_stats.v3.FilterConfig", emit_filter_state=True, stats_for_all_methods=False
    ),
}
TLS_INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": any_of("filters.listener.tls_inspector.v3.TlsInspector"),
}


def manager(ctx: Context, prefix: str, filters: list[Json], logs: list[Json], **more: object) -> Json:
    """An HttpConnectionManager as istiod makes it: streams have no idle limit, paths are normalised."""
    more |= NORMALIZATIONS[ctx.defaults.normalization]
    found = any_of(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        http_filters=[*filters, ROUTER],
        stream_idle_timeout="0s",
        **more,
    )
    return {**found, "access_log": logs} if logs else found


def rds(name: str) -> Json:
    """Routes by name, from the file of that name: a change of routes leaves the listener alone."""
    return {
        "config_source": path_source(f"{PLACEHOLDER}/routes/{route_file(name)}"),
        "route_config_name": name,
    }


def route_file(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-_" else "_" for c in name) + ".json"


def listener(name: str, address: Address, chains: list[Json], direction: str, inspect: bool = False) -> Json:
    found: Json = {
        "name": name,
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "filter_chains": chains,
        "traffic_direction": direction,
    }
    return {**found, "listener_filters": [TLS_INSPECTOR]} if inspect else found


def chain(manager_config: Json, transport: Json | None = None, match: Json | None = None) -> Json:
    found: Json = {"filters": [{"name": MANAGER, "typed_config": manager_config}]}
    if transport:
        found["transport_socket"] = transport
    if match:
        found["filter_chain_match"] = match
    return found


def outbound(ctx: Context, workload: Workload) -> tuple[list[Json], list[Json], list[Json]]:
    """Listeners, clusters and route configurations of a caller's sidecar."""
    proxy = Proxy("SIDECAR_OUTBOUND", workload.labels, workload.namespace)
    caller = Caller(workload.identity, workload.namespace, workload.labels)
    services = visible_services(ctx, workload)
    logs = access_log(ctx, workload.labels, workload.namespace, f"{LOGS}/access-outbound.log", server=False)
    listeners = []
    for port, address in workload.outbound.items():
        here = [service for service in services if port in service.ports]
        config = manager(ctx, f"outbound_0.0.0.0_{port}", [GRPC_STATS, FAULT], logs, rds=rds(str(port)))
        proxy.managers.append((port, config))
        hosts = [_service_host(ctx, workload, service, port, alone=len(here) == 1) for service in here]
        proxy.routes.append((port, _route_config(str(port), [*hosts, _block_all()])))
        listeners.append(listener(f"0.0.0.0_{port}", address, [chain(config)], "OUTBOUND"))
    named = named_clusters([config for _, config in proxy.routes])
    for service in services:
        for port in service.ports:
            made = outbound_clusters(service, port, ctx, caller)
            # Clusters of ports that it can't call here would be in the way of another proxy's in this Envoy.
            if port in workload.outbound or named & {cluster["name"] for cluster in made}:
                proxy.clusters += made
    apply_envoy_filters(ctx, proxy)
    return listeners, proxy.clusters, [config for _, config in proxy.routes]


def _service_host(ctx: Context, workload: Workload, service: Service, port: int, alone: bool) -> Json:
    """A service's virtual host; the only one on its port also answers to the loopback address."""
    scope = Scope("mesh", port, tuple(workload.labels.items()), workload.namespace)
    rules = [
        r for r in ctx.of("VirtualService") if "mesh" in gateways_of(r) and _has_host(ctx, r, service.host)
    ]
    if len(rules) > 1:
        raise MeshError(
            f"{rules[1].at}: {rules[0]} ({rules[0].at}) is for {service.host} too; only one is used"
        )
    found = routes(rules[0], ctx, scope) if rules else [default_route(cluster_name(port, "", service.host))]
    domains = service.domains + (LOCAL_NAMES if alone else [])
    return {
        "name": f"{service.host}:{port}",
        "domains": domains,
        "routes": found,
        "include_request_attempt_count": True,
    }


def _has_host(ctx: Context, resource: Resource, host: str) -> bool:
    return any(ctx.host(text, resource.namespace) in {host, "*"} for text in hosts_of(resource))


def _block_all() -> Json:
    """The virtual host for names that no service has: refused, as under REGISTRY_ONLY."""
    refuse = {"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}
    return {"name": "block_all", "domains": ["*"], "routes": [refuse]}


def _route_config(name: str, hosts: list[Json]) -> Json:
    return {
        "name": name,
        "virtual_hosts": hosts,
        "ignore_port_in_host_matching": True,
        "validate_clusters": False,
    }


def inbound(ctx: Context, workload: Workload) -> tuple[list[Json], list[Json]]:
    """Listeners and clusters of a server's sidecar. One Envoy holds many, so names end in the workload's."""
    proxy = Proxy("SIDECAR_INBOUND", workload.labels, workload.namespace)
    service = next(s for s in ctx.topology.services if workload in ctx.topology.of(s))
    log = f"{LOGS}/access-{workload.name}.log"
    logs = access_log(ctx, workload.labels, workload.namespace, log, server=True)
    listeners = []
    for port, app in workload.app.items():
        if port not in workload.inbound or port not in service.ports:
            raise MeshError(
                f"workload {workload.name}: port {port} needs an inbound address and a Service port"
            )
        name = f"inbound|{port}||{workload.name}"
        token = jwt_filter(ctx, workload.labels, workload.namespace)
        checks = rbac_filters(ctx, workload.labels, workload.namespace, port)
        filters = [*([token] if token else []), *checks, GRPC_STATS]
        route = {
            "name": "default",
            "match": {"prefix": "/"},
            "route": {
                "cluster": name,
                "timeout": "0s",
                "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
            },
        }
        host = {"name": f"inbound|http|{port}", "domains": ["*"], "routes": [route]}
        config = manager(
            ctx,
            f"inbound_{workload.name}_{port}",
            filters,
            logs,
            route_config={"name": name, "virtual_hosts": [host], "validate_clusters": False},
            forward_client_cert_details="APPEND_FORWARD",
            set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
        )
        proxy.managers.append((port, config))
        proxy.routes.append((port, config["route_config"]))
        mode = peer_mode(ctx, workload, port)
        tls = inbound_tls(workload.identity, workload.domain)
        chains = {
            "STRICT": [chain(config, tls)],
            "DISABLE": [chain(config)],
            "PERMISSIVE": [
                chain(config, tls, {"transport_protocol": "tls"}),
                chain(config, None, {"transport_protocol": "raw_buffer"}),
            ],
        }[mode]
        both = mode == "PERMISSIVE"
        listeners.append(
            listener(
                f"virtualInbound_{workload.name}_{port}", workload.inbound[port], chains, "INBOUND", both
            )
        )
        proxy.clusters.append(inbound_cluster(name, app, service.ports[port]))
    apply_envoy_filters(ctx, proxy)
    return listeners, proxy.clusters
