"""Circuit breaker thresholds, retries and their budget, the route's timeout (6 s)."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from tests.mesh.live.support import V1, FakeServer, called, component, operation

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
POOL = "/spec/trafficPolicy/connectionPool/http"
ONE_ROUTE = operation("remove", "/spec/http/1/route/1")  # all to v1


def v1_rules(folder: Path, virtual_service: list[dict[str, object]], rule: list[dict[str, object]]) -> Path:
    """Everything to v1; further operations on the two objects. Ejection is off, it would blur the counts."""
    off = operation("remove", "/spec/trafficPolicy/outlierDetection")
    component(folder / "route", "VirtualService", "tf-serving", ONE_ROUTE, *virtual_service)
    component(folder / "rule", "DestinationRule", "tf-serving", off, *rule)
    (folder / "kustomization.yaml").write_text("kind: Component\ncomponents: [rule, route]\n")
    return folder


@pytest.mark.parametrize("limit", [2, 0])
def test_http2_max_requests_refuses_at_once_what_is_over(tmp_path: Path, limit: int) -> None:
    """With 2 allowed, 2 of 10 calls at once are served and 8 refused; 0 is no limit."""
    rules = v1_rules(tmp_path / "c", [], [operation("replace", f"{POOL}/http2MaxRequests", limit)])
    with (
        FakeServer(1) as server,
        called({"v1": [server]}, tmp_path, rules) as (mesh, caller),
    ):
        caller.predict()  # the connection is there
        server.delay_s = 0.4
        started = time.monotonic()
        caller.many(10, window=10)
        assert time.monotonic() - started < 1.0
        refused = 8 if limit else 0
        assert caller.codes == {OK: 11 - refused, **({UNAVAILABLE: refused} if refused else {})}
        assert mesh.stats().clusters[V1]["refused_active"] == refused
        assert all("overflow" in text for text in caller.details)


@pytest.mark.parametrize("attempts", [1, 0])
def test_unavailable_is_retried(tmp_path: Path, attempts: int) -> None:
    # istiod refuses retryOn beside attempts: 0.
    without = [operation("replace", "/spec/http/1/retries", {"attempts": 0})]
    rules = v1_rules(tmp_path / "c", [] if attempts else without, [])
    with (
        FakeServer(1) as server,
        called({"v1": [server]}, tmp_path, rules) as (mesh, caller),
    ):
        server.fail_next = 1
        assert caller.predict(body=b"j" * 100_000) is (OK if attempts else UNAVAILABLE)
        assert server.calls == 1 + attempts
        assert mesh.stats().clusters[V1]["retries_that_helped"] == attempts


def test_retries_stay_within_their_budget(tmp_path: Path) -> None:
    """A failing server with 40 calls in flight gets at most a fifth of them twice (and always 3)."""
    rules = v1_rules(tmp_path / "c", [], [])
    free = v1_rules(tmp_path / "f", [], [operation("remove", "/spec/trafficPolicy/retryBudget")])
    retries = []
    for component_folder in (rules, free):
        with (
            FakeServer(1, fail=UNAVAILABLE, delay_s=0.3) as server,
            called({"v1": [server]}, tmp_path, component_folder) as (mesh, caller),
        ):
            caller.many(30, window=30)
            assert caller.codes == {UNAVAILABLE: 30}
            retries.append(server.calls - 30)
            overflow = mesh.stats().clusters[V1]["retries_over_budget"]
            assert (overflow > 0) == (component_folder == rules)
    assert retries[0] <= 8
    assert retries[1] == 30


def test_a_body_of_20_mb_is_not_retried(tmp_path: Path) -> None:
    """Envoy keeps what it may have to send again, up to a limit; beyond it the failure is the caller's."""
    rules = v1_rules(tmp_path / "c", [], [])
    with (
        FakeServer(1) as server,
        called({"v1": [server]}, tmp_path, rules) as (mesh, caller),
    ):
        server.fail_next = 1
        assert caller.predict(body=b"j" * 20_000_000) is UNAVAILABLE
        assert server.calls == 1
        assert mesh.stats().clusters[V1]["retries_abandoned"] == 1
        assert caller.predict(body=b"j" * 20_000_000) is OK


def test_a_message_over_32_mib_never_reaches_the_server(tmp_path: Path) -> None:
    rules = v1_rules(tmp_path / "c", [], [])
    unlimited = component(tmp_path / "u", "EnvoyFilter", "message-size")
    for more in ((), (unlimited,)):
        with FakeServer(1) as server, called({"v1": [server]}, tmp_path, rules, *more) as (_, caller):
            code = caller.predict(body=b"j" * 33_600_000)
            assert (code is OK) == bool(more), caller.details
            assert server.calls == len(more)


def test_a_route_timeout_shows_as_unavailable(tmp_path: Path) -> None:
    """Not DEADLINE_EXCEEDED, and the client's own shorter deadline is honoured."""
    short = v1_rules(tmp_path / "c", [operation("replace", "/spec/http/1/timeout", "200ms")], [])
    with FakeServer(1, delay_s=0.6) as server:
        with called({"v1": [server]}, tmp_path, short) as (_, caller):
            assert caller.predict() is UNAVAILABLE
            assert caller.details == ["upstream request timeout"]
        with called({"v1": [server]}, tmp_path, v1_rules(tmp_path / "d", [], [])) as (_, caller):
            assert caller.predict() is OK
            started = time.monotonic()
            code = caller.predict(timeout_s=0.2)
            # Envoy is told the deadline too: on a busy machine its answer may come just before the client gives up.
            assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, UNAVAILABLE)
            assert time.monotonic() - started < server.delay_s
