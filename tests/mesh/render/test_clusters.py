"""DestinationRule, field by field, against what istiod makes of it."""

from __future__ import annotations

import re

import pytest

from mesh.resources import MeshError
from tests.mesh.render.support import HOST, cluster, rendered, resource

UNLIMITED = 2**32 - 1
SUBSET = "subsets: [{name: v1, labels: {version: v1}"


def rule(policy: str, subset: str = "") -> str:
    own = f", trafficPolicy: {subset}" if subset else ""
    return resource("DestinationRule", f"host: tf-serving\ntrafficPolicy: {policy}\n{SUBSET}{own}}}]")


def test_defaults() -> None:
    made = cluster("")
    assert made["connect_timeout"] == "10s"
    assert made["lb_policy"] == "LEAST_REQUEST"
    assert made["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    (limits,) = made["circuit_breakers"]["thresholds"]
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    assert [limits[name] for name in names] == [UNLIMITED] * 4
    assert "retry_budget" not in limits
    assert "outlier_detection" not in made
    (options,) = made["typed_extension_protocol_options"].values()
    assert options["explicit_http_config"] == {"http2_protocol_options": {}}
    tls = made["transport_socket"]["typed_config"]
    assert tls["sni"] == f"outbound_.8500_._.{HOST}"
    validation = tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    names_accepted = [one["matcher"]["exact"] for one in validation["match_typed_subject_alt_names"]]
    assert names_accepted == ["spiffe://cluster.local/ns/object-detection/sa/tf-serving"]


def test_a_subset_has_the_hosts_with_its_labels_and_its_own_sni() -> None:
    made = cluster("v1", rule("{}"))
    (group,) = made["load_assignment"]["endpoints"]
    assert len(group["lb_endpoints"]) == 2
    assert made["transport_socket"]["typed_config"]["sni"] == f"outbound_.8500_.v1_.{HOST}"


def test_connection_pool() -> None:
    pool = (
        "{connectionPool: {tcp: {maxConnections: 7, connectTimeout: 1s, idleTimeout: 1h, maxConnectionDuration: 30m},"
        " http: {http1MaxPendingRequests: 8, http2MaxRequests: 9, maxRetries: 0, maxRequestsPerConnection: 5}}}"
    )
    made = cluster("v1", rule(pool))
    (limits,) = made["circuit_breakers"]["thresholds"]
    assert (limits["max_connections"], limits["max_pending_requests"], limits["max_requests"]) == (7, 8, 9)
    assert limits["max_retries"] == UNLIMITED  # 0 is unset
    assert made["connect_timeout"] == "1s"
    (options,) = made["typed_extension_protocol_options"].values()
    assert options["common_http_protocol_options"] == {
        "max_connection_duration": "1800s",
        "idle_timeout": "3600s",
        "max_requests_per_connection": 5,
    }


def test_a_subset_replaces_whole_blocks_and_ports_replace_all() -> None:
    policy = (
        "{connectionPool: {http: {http2MaxRequests: 9, maxRetries: 4}}, outlierDetection: {interval: 5s}}"
    )
    own = "{connectionPool: {http: {http2MaxRequests: 3}}}"
    (limits,) = cluster("v1", rule(policy, own))["circuit_breakers"]["thresholds"]
    assert (limits["max_requests"], limits["max_retries"]) == (3, UNLIMITED)
    assert cluster("v1", rule(policy, own))["outlier_detection"]["interval"] == "5s"
    ports = "{portLevelSettings: [{port: {number: 8500}, outlierDetection: {interval: 7s}}]}"
    made = cluster("v1", rule(policy, ports))
    assert made["outlier_detection"]["interval"] == "7s"
    assert made["circuit_breakers"]["thresholds"][0]["max_requests"] == UNLIMITED


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{}", {"enforcing_success_rate": 0}),
        (
            "{consecutive5xxErrors: 3, maxEjectionPercent: 50, interval: 1s, baseEjectionTime: 5s}",
            {
                "consecutive_5xx": 3,
                "enforcing_consecutive_5xx": 100,
                "max_ejection_percent": 50,
                "interval": "1s",
                "base_ejection_time": "5s",
            },
        ),
        ("{consecutive5xxErrors: 0}", {"enforcing_consecutive_5xx": 0}),
        (
            "{consecutiveGatewayErrors: 2}",
            {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
        ),
    ],
)
def test_outlier_detection(block: str, expected: dict[str, object]) -> None:
    made = cluster("v1", rule(f"{{outlierDetection: {block}}}"))["outlier_detection"]
    assert expected.items() <= made.items()


def test_min_health_percent_is_the_panic_threshold() -> None:
    made = cluster("v1", rule("{outlierDetection: {minHealthPercent: 30}}"))
    assert made["common_lb_config"]["healthy_panic_threshold"] == {"value": 30}


def test_retry_budget_and_load_balancer() -> None:
    made = cluster(
        "v1",
        rule("{retryBudget: {percent: 25}, loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}}"),
    )
    assert made["circuit_breakers"]["thresholds"][0]["retry_budget"] == {
        "budget_percent": {"value": 25.0},
        "min_retry_concurrency": 3,
    }
    assert made["lb_policy"] == "ROUND_ROBIN"
    slow = made["round_robin_lb_config"]["slow_start_config"]
    assert (slow["slow_start_window"], slow["min_weight_percent"]) == ("30s", {"value": 10.0})


@pytest.mark.parametrize(
    ("objects", "tls"),
    [
        ([], True),
        ([rule("{tls: {mode: ISTIO_MUTUAL}}")], True),
        ([rule("{tls: {mode: DISABLE}}")], False),  # breaks auto mTLS, as in Istio
        ([rule("{}"), resource("PeerAuthentication", "mtls: {mode: DISABLE}", "p")], False),
    ],
)
def test_mutual_tls(objects: list[str], tls: bool) -> None:
    assert ("transport_socket" in cluster("v1" if objects else "", *objects)) == tls


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true}}}",
            "loadBalancer.consistentHash is used here but not tra",
        ),
        ("{loadBalancer: {simple: PASSTHROUGH}}", "PASSTHROUGH is not translated"),
        ("{tls: {mode: SIMPLE}}", "SIMPLE is not translated"),
        ("{outlierDetection: {maxEjectionPercent: 200}}", "expected a whole number in 0..100, got 200"),
        ("{connectionPool: {http: {http2MaxRequest: 2}}}", "http2MaxRequest is used here but not translated"),
        ("{connectionPool: {tcp: {connectTimeout: 1}}}", "expected a duration"),
        ("[]", "expected a mapping, got a list"),
    ],
)
def test_what_is_not_translated_is_an_error(policy: str, says: str) -> None:
    with pytest.raises(MeshError) as error:
        rendered(rule(policy))
    assert says in str(error.value)
    assert str(error.value).startswith("rules.yaml:")


def test_two_rules_for_one_host_are_refused() -> None:
    with pytest.raises(MeshError, match=rf"is for {re.escape(HOST)} too"):
        rendered(rule("{}"), resource("DestinationRule", f"host: {HOST}", "b"))
