"""Services and DestinationRules to Envoy's clusters, with istiod's names and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.render.context import Context, Json, cluster_name, matches_labels
from mesh.render.fields import Fields
from mesh.render.peers import peer_mode
from mesh.render.tls import upstream_tls
from mesh.render.topology import HTTP2_PROTOCOLS, Address, Service, Workload
from mesh.render.traffic_policy import (
    connection_pool,
    http_options,
    load_balancer,
    outlier_detection,
    retry_budget,
)
from mesh.resources import MeshError, Resource


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose proxy the clusters are for: its identity, and the labels a DestinationRule may select it by."""

    identity: str
    namespace: str
    labels: Mapping[str, str]


def outbound_clusters(service: Service, port: int, ctx: Context, caller: Caller) -> list[Json]:
    """The cluster of a service's port, and one for each subset."""
    rule = _rule(service, ctx, caller)
    if rule is None:
        return [_cluster(service, port, "", {}, [], ctx, caller)]
    found = []
    with ctx.spec(rule) as spec:
        spec.take("host")
        spec.only_in_cluster("every resource given is visible to the local mesh", "exportTo")
        spec.take("workloadSelector")  # read by _rule
        policy = spec.take("trafficPolicy")
        where, at = f"{spec.where}.trafficPolicy", spec.at("trafficPolicy")

        def own() -> list[Fields]:
            return [Fields(policy, where, ctx.report, at)] if policy is not None else []

        found.append(_cluster(service, port, "", {}, own(), ctx, caller))
        for subset in spec.each("subsets"):
            with subset:
                policies = own()
                if "trafficPolicy" in subset:
                    policies.append(subset.fields("trafficPolicy"))
                name, labels = subset.text("name"), subset.mapping("labels")
                found.append(_cluster(service, port, name, labels, policies, ctx, caller))
    return found


def inbound_cluster(name: str, address: Address, protocol: str) -> Json:
    """The sidecar's way to its own program."""
    found = _base(name, [address])
    if protocol in HTTP2_PROTOCOLS:
        found["typed_extension_protocol_options"] = http_options({}, {}, http2_on=True)
    return found


def _rule(service: Service, ctx: Context, caller: Caller) -> Resource | None:
    """The DestinationRule of a service for this caller. istiod would merge two of them; they are refused."""
    rules = [
        rule
        for rule in ctx.of("DestinationRule")
        if ctx.host(str(rule.spec.get("host", "")), rule.namespace) == service.host
        and ctx.selects_caller(rule, caller.labels, caller.namespace)
    ]
    if len(rules) > 1:
        raise MeshError(f"{rules[1].at}: {rules[0]} ({rules[0].at}) is for {service.host} too; make them one")
    return rules[0] if rules else None


def _base(name: str, addresses: list[Address]) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(address) for address in addresses]}],
        },
    }


def _endpoint(address: Address) -> Json:
    socket = {"address": address.host, "port_value": address.port}
    return {"endpoint": {"address": {"socket_address": socket}}}


def _cluster(
    service: Service,
    port: int,
    subset: str,
    labels: Mapping[str, str],
    policies: list[Fields],
    ctx: Context,
    caller: Caller,
) -> Json:
    """One cluster. `policies` are trafficPolicy blocks, the later over the earlier, block by block."""
    hosts = [w for w in ctx.topology.of(service) if matches_labels(labels, w.labels) and port in w.inbound]
    name = cluster_name(port, subset, service.host)
    found = _base(name, [workload.inbound[port] for workload in hosts])
    found["lb_policy"] = "LEAST_REQUEST"
    found["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    blocks = _merged(policies, port)
    connection_pool(found, blocks.get("connectionPool"), service.ports[port])
    if "retryBudget" in blocks:
        retry_budget(found, blocks["retryBudget"])
    if "outlierDetection" in blocks:
        outlier_detection(found, blocks["outlierDetection"])
    if "loadBalancer" in blocks:
        load_balancer(found, blocks["loadBalancer"])
    _transport(found, blocks.get("tls"), service, port, subset, hosts, ctx, caller)
    return found


def _merged(policies: list[Fields], port: int) -> dict[str, Fields]:
    """The blocks that hold for a port: each policy replaces whole blocks of the one before, and
    portLevelSettings replace all of them, as istiod's MergeTrafficPolicy does."""
    names = ("connectionPool", "retryBudget", "outlierDetection", "loadBalancer", "tls")
    blocks: dict[str, Fields] = {}
    for policy in policies:
        level: dict[str, Fields] | None = None
        with policy:
            blocks |= {name: policy.fields(name) for name in names if name in policy}
            policy.only_in_cluster(
                "the local mesh has no tunnel and no PROXY protocol", "tunnel", "proxyProtocol"
            )
            for settings in policy.each("portLevelSettings"):
                with settings:
                    with settings.fields("port") as target:
                        here = target.integer("number") == port
                    given = {name: settings.fields(name) for name in names if name in settings}
                if here:
                    level = given
        blocks = level if level is not None else blocks
    return blocks


def _transport(
    found: Json,
    tls: Fields | None,
    service: Service,
    port: int,
    subset: str,
    hosts: list[Workload],
    ctx: Context,
    caller: Caller,
) -> None:
    """Mutual TLS with the hosts' identities, unless a DestinationRule turns it off."""
    plain = bool(hosts) and all(peer_mode(ctx, workload, port) == "DISABLE" for workload in hosts)
    mode = "DISABLE" if plain else "ISTIO_MUTUAL"
    if tls is not None:
        with tls:
            mode = tls.text("mode", "DISABLE", choices=("ISTIO_MUTUAL", "DISABLE"))
    if mode == "ISTIO_MUTUAL":
        names = sorted({workload.identity for workload in hosts})
        sni = f"outbound_.{port}_.{subset}_.{service.host}"
        found["transport_socket"] = upstream_tls(caller.identity, names, sni)


def named_clusters(node: object) -> set[str]:
    """The outbound clusters that a part of the configuration names."""
    if isinstance(node, dict):
        own = {node[key] for key in ("cluster", "name") if str(node.get(key, "")).startswith("outbound|")}
        return own.union(*(named_clusters(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(named_clusters(value) for value in node))
    return set()
