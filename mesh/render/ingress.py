"""The gateway: Gateway resources to listeners, and the VirtualServices bound to them to routes."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.render.clusters import Caller, named_clusters, outbound_clusters
from mesh.render.context import Context, Json, matches_labels, selector
from mesh.render.envoyfilter import Proxy, apply_envoy_filters
from mesh.render.fields import Fields
from mesh.render.jwt import jwt_filter
from mesh.render.listeners import FAULT, GRPC_STATS, LOCAL_NAMES, chain, listener, manager, rds
from mesh.render.matching import Scope, qualified
from mesh.render.rbac import rbac_filters
from mesh.render.routes import gateways_of, hosts_of, routes
from mesh.render.telemetry import access_log
from mesh.render.tls import LOGS, gateway_tls
from mesh.render.topology import GatewayPod
from mesh.resources import MeshError, Resource

HTTP_PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
VERSIONS = {
    "TLS_AUTO": "",
    "TLSV1_0": "TLSv1_0",
    "TLSV1_1": "TLSv1_1",
    "TLSV1_2": "TLSv1_2",
    "TLSV1_3": "TLSv1_3",
}


@dataclass(frozen=True, slots=True)
class Server:
    """One `servers[]` entry of a Gateway."""

    gateway: str  # namespace/name
    port: int
    port_name: str
    hosts: tuple[str, ...]
    tls: Json | None

    @property
    def route_name(self) -> str:
        if self.tls is None:
            return f"http.{self.port}"
        namespace, _, name = self.gateway.partition("/")
        return f"https.{self.port}.{self.port_name}.{name}.{namespace}"


def ingress(ctx: Context, pod: GatewayPod) -> tuple[list[Json], list[Json], list[Json]]:
    """Listeners, clusters and route configurations of the gateway's pod."""
    proxy = Proxy("GATEWAY", pod.labels, pod.namespace)
    by_port: dict[int, list[Server]] = {}
    for resource in ctx.of("Gateway"):
        for server in _servers(ctx, resource, pod):
            by_port.setdefault(server.port, []).append(server)
    listeners = []
    logs = access_log(ctx, pod.labels, pod.namespace, f"{LOGS}/access-ingress.log", server=True)
    for port, servers in by_port.items():
        chains = []
        for server in _joined(servers):
            token = jwt_filter(ctx, pod.labels, pod.namespace)
            checks = rbac_filters(ctx, pod.labels, pod.namespace, port)
            config = manager(
                ctx,
                f"outbound_0.0.0.0_{port}" if server.tls is None else server.route_name,
                [*([token] if token else []), *checks, GRPC_STATS, FAULT],
                logs,
                rds=rds(server.route_name),
                use_remote_address=True,
                forward_client_cert_details="SANITIZE_SET",
                set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
            )
            proxy.managers.append((port, config))
            proxy.routes.append((port, _routes(ctx, server)))
            # The only TLS server of a port takes every name: a caller that dials 127.0.0.1 sends none.
            names = [] if len(servers) == 1 or "*" in server.hosts else list(server.hosts)
            chains.append(chain(config, server.tls, {"server_names": names} if names else None))
        sni = any("filter_chain_match" in one for one in chains)
        listeners.append(listener(f"0.0.0.0_{port}", pod.listen[port], chains, "OUTBOUND", inspect=sni))
    named = named_clusters([config for _, config in proxy.routes])
    caller = Caller(pod.identity, pod.namespace, pod.labels)
    for service in ctx.topology.services:
        for port in service.ports:
            made = outbound_clusters(service, port, ctx, caller)
            proxy.clusters += [cluster for cluster in made if cluster["name"] in named]
    apply_envoy_filters(ctx, proxy)
    return listeners, proxy.clusters, [config for _, config in proxy.routes]


def _servers(ctx: Context, resource: Resource, pod: GatewayPod) -> list[Server]:
    if not matches_labels(selector(resource), pod.labels):
        return []
    found = []
    with ctx.spec(resource) as spec:
        spec.take("selector")
        for server in spec.each("servers"):
            with server:
                with server.fields("port") as port_fields:
                    port = port_fields.integer("number", low=1, high=65535)
                    protocol = port_fields.text("protocol", choices=(*HTTP_PROTOCOLS, "HTTPS"))
                    port_name = port_fields.text("name")
                server.only_in_cluster("the address comes from the endpoints file here", "bind")
                server.text("name")
                hosts = tuple(host.rpartition("/")[2] for host in server.texts("hosts"))
                tls = _tls(server.fields("tls")) if "tls" in server else None
                if protocol == "HTTPS" and tls is None:
                    raise server.fail("tls", "protocol HTTPS needs tls")
                if port is None or not hosts:
                    raise server.fail("port", "a server needs port.number and hosts")
            if port not in pod.listen:
                why = f"the endpoints file gives the gateway's port {port} no address here"
                ctx.report.only_in_cluster(server.at("port"), f"{server.where}", why)
                continue
            found.append(Server(f"{resource.namespace}/{resource.name}", port, port_name, hosts, tls))
    return found


def _tls(tls: Fields) -> Json:
    """SIMPLE, MUTUAL: the certificate of credentialName; here the local CA's, and it vouches for clients too."""
    with tls:
        mode = tls.text("mode", choices=("SIMPLE", "MUTUAL"))
        credential = tls.text("credentialName")
        if not credential:
            raise tls.fail("credentialName", "expected the name of a secret; files are not translated")
        names = tls.texts("subjectAltNames")
        limits = [
            tls.text(key, "TLS_AUTO", choices=tuple(VERSIONS))
            for key in ("minProtocolVersion", "maxProtocolVersion")
        ]
    low, high = (VERSIONS[limit] for limit in limits)
    root = f"kubernetes://{credential}-cacert" if mode == "MUTUAL" else ""
    return gateway_tls(f"kubernetes://{credential}", root, names, low or "TLSv1_2", high)


def _joined(servers: list[Server]) -> list[Server]:
    """Plain-text servers of one port share a route configuration, so they become one."""
    plain = [server for server in servers if server.tls is None]
    if plain and len(plain) != len(servers):
        raise MeshError(f"gateway port {servers[0].port}: servers with and without TLS on one port")
    if len(plain) > 1:
        if len({server.gateway for server in plain}) > 1:
            raise MeshError(f"gateway port {plain[0].port}: two Gateways in plain text on one port")
        hosts = tuple(dict.fromkeys(host for server in plain for host in server.hosts))
        return [Server(plain[0].gateway, plain[0].port, plain[0].port_name, hosts, None)]
    return servers


def _routes(ctx: Context, server: Server) -> Json:
    """The route configuration of a server: a virtual host for each host of the VirtualServices bound to it."""
    hosts: dict[str, Json] = {}
    for resource in ctx.of("VirtualService"):
        if server.gateway not in {qualified(name, resource.namespace) for name in gateways_of(resource)}:
            continue
        found = routes(resource, ctx, Scope(server.gateway, server.port))
        for text in hosts_of(resource):
            host = ctx.host(text, resource.namespace)
            if not any(_within(host, wanted) for wanted in server.hosts) or not found:
                continue
            if host in hosts:
                raise MeshError(f"{resource.at}: {resource}: {host} already has routes on {server.gateway}")
            hosts[host] = {
                "name": f"{host}:{server.port}",
                "domains": [host],
                "routes": found,
                "include_request_attempt_count": True,
            }
    if len(hosts) == 1 and "*" not in hosts:
        next(iter(hosts.values()))["domains"] += LOCAL_NAMES
    if not hosts:
        missing = {"name": "blackhole", "domains": ["*"], "routes": [_not_found()]}
        hosts["*"] = missing
    return {
        "name": server.route_name,
        "virtual_hosts": list(hosts.values()),
        "ignore_port_in_host_matching": True,
        "validate_clusters": False,
    }


def _not_found() -> Json:
    return {"name": "blackhole", "match": {"prefix": "/"}, "direct_response": {"status": 404}}


def _within(host: str, wanted: str) -> bool:
    return wanted in {"*", host} or host == "*" or (wanted.startswith("*.") and host.endswith(wanted[1:]))
