"""Ejection of a failing host and its return, with one host and with two (10 s)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc

from tests.mesh.live.support import V1, Caller, FakeServer, called, component, operation, wait_for

OK, INTERNAL, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE


def until(caller: Caller, check: Callable[[], bool]) -> float:
    """Call until `check()` is true; the seconds it took."""

    def call_and_check() -> bool:
        caller.many(10)
        return check()

    return wait_for(call_and_check)


def to_v1_only(folder: Path, *more: dict[str, object]) -> Path:
    """All calls to v1, and short times, so that a test sees an ejection's end."""
    component(
        folder / "rule",
        "DestinationRule",
        "tf-serving",
        operation("replace", "/spec/trafficPolicy/outlierDetection/interval", "200ms"),
        operation("replace", "/spec/trafficPolicy/outlierDetection/baseEjectionTime", "1s"),
        *more,
    )
    component(folder / "route", "VirtualService", "tf-serving", operation("remove", "/spec/http/1/route/1"))
    (folder / "kustomization.yaml").write_text("kind: Component\ncomponents: [rule, route]\n")
    return folder


def test_one_of_two_hosts_fails_is_ejected_and_returns(tmp_path: Path) -> None:
    # INTERNAL, because UNAVAILABLE would be retried on the other host and hidden from the caller.
    with (
        FakeServer(1, fail=INTERNAL) as bad,
        FakeServer(1) as good,
        called({"v1": [bad, good]}, tmp_path, to_v1_only(tmp_path / "c")) as (mesh, caller),
    ):
        until(caller, lambda: bad.calls >= 5)
        wait_for(lambda: mesh.stats().clusters[V1]["ejected_now"] == 1)
        failed_until_ejected = caller.codes[INTERNAL]
        before = bad.calls
        caller.many(200)
        assert caller.codes[INTERNAL] == failed_until_ejected  # the error rate is back to 0
        assert bad.calls == before
        assert 5 <= failed_until_ejected <= 5 + 16  # five in a row, and what was in flight
        bad.fail = None
        recovered_s = until(caller, lambda: bad.calls > before)
        assert recovered_s < 3.0  # ejected for 1 s, looked at every 200 ms
        assert caller.codes[INTERNAL] == failed_until_ejected


def test_without_outlier_detection_the_errors_go_on(tmp_path: Path) -> None:
    none = component(
        tmp_path / "none",
        "DestinationRule",
        "tf-serving",
        operation("remove", "/spec/trafficPolicy/outlierDetection"),
    )
    with (
        FakeServer(1, fail=INTERNAL) as bad,
        FakeServer(1) as good,
        called({"v1": [bad, good]}, tmp_path, to_v1_only(tmp_path / "c"), none) as (_, caller),
    ):
        caller.many(300)
        assert caller.codes[INTERNAL] > 75


def test_ten_percent_of_two_hosts_ejects_none(tmp_path: Path) -> None:
    """Istio's default maxEjectionPercent, and 49: nothing is ejected, `ejections_overflow` counts."""
    for percent in (10, 49):
        limit = operation("replace", "/spec/trafficPolicy/outlierDetection/maxEjectionPercent", percent)
        with (
            FakeServer(1, fail=INTERNAL) as bad,
            FakeServer(1) as good,
            called({"v1": [bad, good]}, tmp_path, to_v1_only(tmp_path / f"c{percent}", limit)) as (
                mesh,
                caller,
            ),
        ):
            caller.many(200)
            assert caller.codes[INTERNAL] > 50
            counts = mesh.stats().clusters[V1]
            assert counts["ejected_now"] == 0
            assert counts["ejections_overflow"] > 0


def test_the_only_host_is_ejected_clear_unavailable_at_once(tmp_path: Path) -> None:
    with (
        FakeServer(1, fail=INTERNAL) as only,
        called({"v1": [only]}, tmp_path, to_v1_only(tmp_path / "c")) as (mesh, caller),
    ):
        caller.many(5, window=1)
        wait_for(lambda: mesh.stats().clusters[V1]["ejected_now"] == 1)
        caller.details.clear()
        started = time.monotonic()
        assert caller.predict() is UNAVAILABLE
        assert time.monotonic() - started < 0.5  # no hang
        assert caller.details == ["no healthy upstream"]
        only.fail = None
        assert wait_for(lambda: caller.predict() is OK) < 3.0


def test_at_ten_percent_the_only_host_stays_and_fails(tmp_path: Path) -> None:
    limit = operation("replace", "/spec/trafficPolicy/outlierDetection/maxEjectionPercent", 10)
    with (
        FakeServer(1, fail=INTERNAL) as only,
        called({"v1": [only]}, tmp_path, to_v1_only(tmp_path / "c", limit)) as (_, caller),
    ):
        caller.many(20, window=1)
        assert caller.codes == {INTERNAL: 20}


def test_a_full_queue_ejects_nobody(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED, TF Serving's "batch queue full", is HTTP 429: no error for outlier detection."""
    with (
        FakeServer(1, fail=grpc.StatusCode.RESOURCE_EXHAUSTED) as only,
        called({"v1": [only]}, tmp_path, to_v1_only(tmp_path / "c")) as (mesh, caller),
    ):
        caller.many(30)
        assert caller.codes == {grpc.StatusCode.RESOURCE_EXHAUSTED: 30}
        assert mesh.stats().clusters[V1]["ejections"] == 0
