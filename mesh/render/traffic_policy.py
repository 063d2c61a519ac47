"""The blocks of a DestinationRule's trafficPolicy, written into a cluster."""

from __future__ import annotations

from mesh.render.context import Json
from mesh.render.fields import Fields
from mesh.render.topology import HTTP2_PROTOCOLS
from mesh.resources import MeshError

UNLIMITED = 2**32 - 1
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def connection_pool(found: Json, pool: Fields | None, protocol: str) -> None:
    """Circuit breaker thresholds and protocol options; what is unset, or 0, is unlimited."""
    limits: Json = {"max_connections": UNLIMITED, "max_pending_requests": UNLIMITED}
    limits |= {"max_requests": UNLIMITED, "max_retries": UNLIMITED, "track_remaining": True}
    common: Json = {}
    http2: Json = {}
    upgrade = False
    if pool is not None:
        with pool:
            with pool.fields("tcp") as tcp:
                _tcp(found, limits, common, tcp)
            with pool.fields("http") as http:
                upgrade = (
                    http.text("h2UpgradePolicy", choices=("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"))
                    == "UPGRADE"
                )
                _http(limits, common, http2, http)
    found["circuit_breakers"] = {"thresholds": [limits]}
    is_http2 = protocol in HTTP2_PROTOCOLS or upgrade
    if http2 and not is_http2:
        raise MeshError(
            f"{found['name']}: HTTP/2 limits on a port that is {protocol}: name the port grpc or http2"
        )
    if is_http2 or common:
        found["typed_extension_protocol_options"] = http_options(common, http2, is_http2)


def http_options(common: Json, http2: Json, http2_on: bool) -> Json:
    """A cluster's HttpProtocolOptions."""
    explicit = {"http2_protocol_options": http2} if http2_on else {"http_protocol_options": {}}
    options: Json = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", "explicit_http_config": explicit}
    if common:
        options["common_http_protocol_options"] = common
    return {HTTP_OPTIONS: options}


def _tcp(found: Json, limits: Json, common: Json, tcp: Fields) -> None:
    limits["max_connections"] = tcp.integer("maxConnections") or UNLIMITED
    found["connect_timeout"] = tcp.duration("connectTimeout") or found["connect_timeout"]
    if age := tcp.duration("maxConnectionDuration"):
        common["max_connection_duration"] = age
    if idle := tcp.duration("idleTimeout"):
        common["idle_timeout"] = idle
    if "tcpKeepalive" in tcp:
        with tcp.fields("tcpKeepalive") as keepalive:
            times = (("time", "keepalive_time"), ("interval", "keepalive_interval"))
            given: Json = {
                to: int(float(value[:-1])) for key, to in times if (value := keepalive.duration(key))
            }
            if probes := keepalive.integer("probes"):
                given["keepalive_probes"] = probes
            found["upstream_connection_options"] = {"tcp_keepalive": given}


def _http(limits: Json, common: Json, http2: Json, http: Fields) -> None:
    limits["max_pending_requests"] = http.integer("http1MaxPendingRequests") or UNLIMITED
    limits["max_requests"] = http.integer("http2MaxRequests") or UNLIMITED
    limits["max_retries"] = http.integer("maxRetries") or UNLIMITED
    if requests := http.integer("maxRequestsPerConnection"):
        common["max_requests_per_connection"] = requests
    if idle := http.duration("idleTimeout"):
        common["idle_timeout"] = idle
    if streams := http.integer("maxConcurrentStreams"):
        http2["max_concurrent_streams"] = streams
    if "http2KeepAlive" in http:
        with http.fields("http2KeepAlive") as keepalive:
            http2["connection_keepalive"] = {
                key: value
                for key, value in (
                    ("interval", keepalive.duration("interval")),
                    ("timeout", keepalive.duration("timeout")),
                )
                if value
            }


def retry_budget(found: Json, budget: Fields) -> None:
    """A share of the requests in flight may be retries, and at least a few of them."""
    with budget:
        percent = budget.number("percent", 20.0)
        given = {
            "budget_percent": {"value": percent},
            "min_retry_concurrency": budget.integer("minRetryConcurrency", 3),
        }
    found["circuit_breakers"]["thresholds"][0]["retry_budget"] = given


def outlier_detection(found: Json, block: Fields) -> None:
    """OutlierDetection: what istiod sets, and leaves to Envoy's defaults where it leaves it."""
    given: Json = {"enforcing_success_rate": 0}
    with block:
        errors = block.integer("consecutive5xxErrors")
        if errors is not None:
            given |= {"consecutive_5xx": errors, "enforcing_consecutive_5xx": 100 if errors > 0 else 0}
        gateway = block.integer("consecutiveGatewayErrors")
        if gateway is not None:
            given["consecutive_gateway_failure"] = gateway
            given["enforcing_consecutive_gateway_failure"] = 100 if gateway > 0 else 0
        if block.boolean("splitExternalLocalOriginErrors"):
            given["split_external_local_origin_errors"] = True
            local = block.integer("consecutiveLocalOriginFailures")
            if local is not None:
                given["consecutive_local_origin_failure"] = local
                given["enforcing_consecutive_local_origin_failure"] = 100 if local > 0 else 0
            given["enforcing_local_origin_success_rate"] = 0
        for key, to in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
            if value := block.duration(key):
                given[to] = value
        percent = block.integer("maxEjectionPercent", high=100)
        if percent:
            given["max_ejection_percent"] = percent
        healthy = block.integer("minHealthPercent", 0, high=100)
    found["outlier_detection"] = given
    found["common_lb_config"]["healthy_panic_threshold"] = {"value": healthy}


_POLICIES = {"UNSPECIFIED": "LEAST_REQUEST", "LEAST_REQUEST": "LEAST_REQUEST", "LEAST_CONN": "LEAST_REQUEST"}
_POLICIES |= {"ROUND_ROBIN": "ROUND_ROBIN", "RANDOM": "RANDOM"}


def load_balancer(found: Json, block: Fields) -> None:
    """LEAST_REQUEST unless set; warmup lets a new host start slowly."""
    with block:
        found["lb_policy"] = _POLICIES[block.text("simple", "UNSPECIFIED", choices=tuple(_POLICIES))]
        block.only_in_cluster("one machine has one locality", "localityLbSetting")
        if "warmup" in block:
            with block.fields("warmup") as warmup:
                slow: Json = {
                    "slow_start_window": warmup.duration("duration") or "0s",
                    "aggression": {
                        "default_value": warmup.number("aggression", 1.0),
                        "runtime_key": "",
                    },
                    "min_weight_percent": {"value": warmup.number("minimumPercent", 10.0)},
                }
            if found["lb_policy"] == "RANDOM":
                raise block.fail("warmup", "works with LEAST_REQUEST and ROUND_ROBIN")
            found[f"{found['lb_policy'].lower()}_lb_config"] = {"slow_start_config": slow}
