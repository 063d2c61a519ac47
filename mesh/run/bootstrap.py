"""What Envoy starts with: its administration, where its configuration is, and its counters for Prometheus."""

from __future__ import annotations

from pathlib import Path

from mesh.render.context import Json, any_of
from mesh.render.tls import path_source
from mesh.render.topology import Address

# Below the limit of about 108 bytes for a socket's path when the folder comes from tempfile.
ADMIN_SOCKET = "admin.sock"
# What Istio's proxies serve on port 15090.
STATS_PATH = "/stats/prometheus"
# Tags as Istio's proxies have them, so that a query here is a query there. Envoy's own rule cuts a cluster's name at
# its first dot. The first group leaves the metric's name, the second is the label.
TAGS = {"cluster_name": r"^cluster\.((.+?\.svc\.cluster\.local|[^.]+)\.)"}


def bootstrap(folder: Path, stats: Address | None) -> Json:
    """Envoy's bootstrap. The administration socket is a file of `folder`, which is owner-only.

    `stats`: where it offers STATS_PATH and nothing else of its administration; None: nowhere.
    """
    admin = {"pipe": {"path": str(folder / ADMIN_SOCKET), "mode": 0o600}}
    made: Json = {
        "node": {"id": "sightline-mesh", "cluster": "sightline"},
        "admin": {"address": admin},
        "dynamic_resources": {
            "cds_config": path_source(str(folder / "cds.json")),
            "lds_config": path_source(str(folder / "lds.json")),
        },
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in TAGS.items()],
        },
    }
    if stats is not None:
        made["static_resources"] = {"listeners": [_listener(stats)], "clusters": [_cluster(admin)]}
    return made


def _cluster(admin: Json) -> Json:
    """Istio's name for it, and for the listener's route."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": admin}}]}]
    return {
        "name": "prometheus_stats",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "prometheus_stats", "endpoints": endpoints},
    }


def _listener(stats: Address) -> Json:
    route = {"match": {"path": STATS_PATH}, "route": {"cluster": "prometheus_stats"}}
    connections = any_of(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="stats",
        route_config={"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            {"name": "envoy.filters.http.router", "typed_config": any_of("filters.http.router.v3.Router")}
        ],
    )
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]
    }
    address = {"socket_address": {"address": stats.host, "port_value": stats.port}}
    return {"name": "stats", "address": address, "filter_chains": [chain]}
