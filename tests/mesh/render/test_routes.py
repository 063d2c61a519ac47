"""VirtualService, field by field, against what istiod makes of it."""

from __future__ import annotations

import pytest

from mesh.resources import MeshError
from tests.mesh.render.support import HOST, SUBSETS, resource, route_of, routes

V1, V2 = f"outbound|8500|v1|{HOST}", f"outbound|8500|v2|{HOST}"
TO_V1 = "route: [{destination: {host: tf-serving, subset: v1}}]\n"


def test_without_a_virtual_service_the_service_itself_with_istiods_defaults() -> None:
    (route,) = routes()
    assert route["name"] == "default"
    assert route["route"]["cluster"] == f"outbound|8500||{HOST}"
    assert route["route"]["timeout"] == route["route"]["max_grpc_timeout"] == "0s"
    policy = route["route"]["retry_policy"]
    assert policy["num_retries"] == 2
    assert policy["retry_on"] == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert policy["host_selection_retry_max_attempts"] == "5"
    assert policy["retry_host_predicate"][0]["name"] == "envoy.retry_host_predicates.previous_hosts"


@pytest.mark.parametrize(
    ("destinations", "clusters"),
    [
        ("[{destination: {host: tf-serving, subset: v1}, weight: 20}]", V1),  # one: its weight means nothing
        ("[{destination: {host: tf-serving, subset: v2}, weight: 0}]", V2),
        (
            "[{destination: {host: tf-serving, subset: v1}, weight: 8},"
            " {destination: {host: tf-serving, subset: v2}, weight: 2}]",
            [(V1, 8), (V2, 2)],
        ),
        (
            "[{destination: {host: tf-serving, subset: v1}, weight: 100},"
            " {destination: {host: tf-serving, subset: v2}}]",
            [(V1, 100)],
        ),
    ],
)
def test_destinations(destinations: str, clusters: str | list[tuple[str, int]]) -> None:
    action = route_of(f"route: {destinations}")["route"]
    if isinstance(clusters, str):
        assert action["cluster"] == clusters
    else:
        weighted = [(one["name"], one["weight"]) for one in action["weighted_clusters"]["clusters"]]
        assert weighted == clusters


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{uri: {exact: /a}}", {"path": "/a"}),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", {"prefix": "/a", "case_sensitive": False}),
        ("{uri: {regex: /a.*}}", {"safe_regex": {"regex": "/a.*"}}),
        (
            "{headers: {x: {exact: y}}}",
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "y"}}]},
        ),
        ("{headers: {x: {}}}", {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        ('{headers: {x: {regex: "*"}}}', {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        (
            "{withoutHeaders: {x: {prefix: y}}}",
            {
                "prefix": "/",
                "headers": [{"name": "x", "string_match": {"prefix": "y"}, "invert_match": True}],
            },
        ),
        (
            "{method: {exact: POST}}",
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        ),
        (
            "{queryParams: {q: {exact: '1'}}}",
            {"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
        ),
        ("{port: 8500, gateways: [mesh], sourceLabels: {app: object-detection-client}}", {"prefix": "/"}),
    ],
)
def test_match(match: str, expected: dict[str, object]) -> None:
    assert route_of(f"match: [{match}]\n{TO_V1}")["match"] == expected


@pytest.mark.parametrize(
    "match",
    ["{port: 8501}", "{gateways: [other]}", "{sourceLabels: {app: other}}", "{sourceNamespace: other}"],
)
def test_a_match_for_somebody_else_gives_no_route(match: str) -> None:
    spec = f"hosts: [tf-serving]\nhttp:\n- match: [{match}]\n  {TO_V1}"
    assert routes(resource("VirtualService", spec), resource("DestinationRule", SUBSETS)) == []


def test_a_catch_all_cuts_off_what_follows_and_matches_are_alternatives() -> None:
    spec = (
        "hosts: [tf-serving]\nhttp:\n"
        f"- match: [{{headers: {{x: {{exact: a}}}}}}, {{headers: {{x: {{exact: b}}}}}}]\n  name: two\n  {TO_V1}"
        f"- name: rest\n  {TO_V1}- name: never\n  {TO_V1}"
    )
    found = routes(resource("VirtualService", spec), resource("DestinationRule", SUBSETS))
    assert [route["name"] for route in found] == ["two", "two", "rest"]


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ("{attempts: 3}", {"num_retries": 3}),
        (
            "{attempts: 1, perTryTimeout: 250ms, backoff: 10ms}",
            {"per_try_timeout": "0.25s", "retry_back_off": {"base_interval": "0.01s"}},
        ),
        (
            "{attempts: 1, retryOn: 'unavailable,503'}",
            {"retry_on": "unavailable,retriable-status-codes", "retriable_status_codes": [503]},
        ),
        ("{attempts: 0}", None),
    ],
)
def test_retries(retries: str, expected: dict[str, object] | None) -> None:
    action = route_of(f"retries: {retries}\n{TO_V1}")["route"]
    if expected is None:
        assert "retry_policy" not in action
    else:
        assert expected.items() <= action["retry_policy"].items()
    assert "retry_host_predicate" in (action.get("retry_policy") or {"retry_host_predicate": 1})


def test_timeout_bounds_the_clients_own() -> None:
    action = route_of(f"timeout: 1m30s\n{TO_V1}")["route"]
    assert action["timeout"] == action["max_grpc_timeout"] == "90s"


def test_faults_and_mirrors_count_in_millionths_and_default_to_none_and_all() -> None:
    fault = "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.1}}, delay: {fixedDelay: 2s}}\n"
    half = "{destination: {host: tf-serving}, percentage: {value: 5}}"
    mirror = f"mirrors: [{{destination: {{host: tf-serving, subset: v2}}}}, {half}]\n"
    route = route_of(fault + mirror + TO_V1)
    config = route["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert config["abort"] == {"percentage": {"numerator": 1000, "denominator": "MILLION"}, "grpc_status": 14}
    assert config["delay"] == {"fixed_delay": "2s", "percentage": {"numerator": 0, "denominator": "MILLION"}}
    policies = route["route"]["request_mirror_policies"]
    assert [(one["cluster"], one["runtime_fraction"]["default_value"]["numerator"]) for one in policies] == [
        (V2, 1_000_000),
        (f"outbound|8500||{HOST}", 50_000),
    ]
    assert all(one["trace_sampled"] is False for one in policies)


def test_header_operations() -> None:
    route = route_of(
        "headers: {request: {set: {a: b}, add: {c: d}, remove: [version]}, response: {remove: [x]}}\n" + TO_V1
    )
    assert [one["append_action"] for one in route["request_headers_to_add"]] == [
        "OVERWRITE_IF_EXISTS_OR_ADD",
        "APPEND_IF_EXISTS_OR_ADD",
    ]
    assert route["request_headers_to_remove"] == ["version"]
    assert route["response_headers_to_remove"] == ["x"]


@pytest.mark.parametrize(
    ("http", "says"),
    [
        (
            "corsPolicy: {}\n" + TO_V1,
            "rules.yaml:8: VirtualService a spec.http[0].corsPolicy is used here but not tr",
        ),
        (
            "route: [{destination: {host: tf-serving, subset: v1}, wieght: 3}]",
            "route[0].wieght is used here but not",
        ),
        ("match: [{uri: {exact: a, prefix: b}}]\n" + TO_V1, "exactly one of exact, prefix and regex"),
        (
            "route: [{destination: {host: nobody}}]",
            "nobody.object-detection.svc.cluster.local is not a service",
        ),
        ("route: [{destination: {host: tf-serving, subset: v3}}]", "no DestinationRule defines v3"),
        (
            "route: [{destination: {host: tf-serving, port: {number: 80}}}]",
            "has no port 80 (it has 8500, 8501)",
        ),
        (
            "route: [{destination: {host: tf-serving, subset: v1}, weight: 0},"
            " {destination: {host: tf-serving, subset: v2}, weight: 0}]",
            "the weights add up to 0",
        ),
        ("retries: {attempts: 0, retryOn: unavailable}\n" + TO_V1, "together with attempts: 0"),
        ("retries: {attempts: 1, retryOn: 'unavailable, cancelled'}\n" + TO_V1, "no spaces"),
        ("retries: {attempts: 1, retryOn: unavalable}\n" + TO_V1, "Envoy has no such retry policy"),
        (
            "fault: {abort: {grpcStatus: unavailable}}\n" + TO_V1,
            "unavailable is not translated; known here: OK, CAN",
        ),
        ("fault: {abort: {http2Error: X}}\n" + TO_V1, "expected grpcStatus or httpStatus"),
        ("fault: {delay: {exponentialDelay: 2s}}\n" + TO_V1, "fixedDelay: expected a duration"),
        ("fault: {abort: {httpStatus: 503, percentage: {value: 101}}}\n" + TO_V1, "expected 0..100, got 101"),
        ("timeout: soon\n" + TO_V1, "expected a duration such as 500ms"),
        ("redirect: {uri: /}\n", "a route needs at least one destination"),
        ("delegate: {name: x}\n" + TO_V1, "delegate is used here but not translated"),
    ],
)
def test_what_is_not_translated_is_an_error_with_its_line(http: str, says: str) -> None:
    with pytest.raises(MeshError) as error:
        route_of(http)
    assert says in str(error.value)
    assert str(error.value).startswith("rules.yaml:")
