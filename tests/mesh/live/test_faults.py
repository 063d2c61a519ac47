"""Faults by percentage and for one camera, and the mirror (5 s)."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from tests.mesh.live.support import (
    ISTIO,
    FakeServer,
    Versions,
    called,
    component,
    interval,
    operation,
    wait_for,
)

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
FAULTS = ISTIO / "components" / "faults"
CAM_0, CAM_1 = [("sightline-camera-id", "cam-0")], [("sightline-camera-id", "cam-1")]


def test_abort_hits_its_percentage(pair: Versions, v1: FakeServer, v2: FakeServer, tmp_path: Path) -> None:
    with called(pair, tmp_path, FAULTS / "abort") as (mesh, caller):
        caller.many(1000)
        low, high = interval(1000, 0.10)
        assert low <= caller.codes[UNAVAILABLE] <= high
        assert caller.codes[OK] + caller.codes[UNAVAILABLE] == 1000
        assert mesh.stats().faults["aborts"] == caller.codes[UNAVAILABLE]
        assert v1.calls + v2.calls == caller.codes[OK]  # not retried: the fault comes before the router


def test_an_abort_without_percentage_never_happens(pair: Versions, tmp_path: Path) -> None:
    none = component(
        tmp_path / "c",
        "VirtualService",
        "tf-serving",
        operation("remove", "/spec/http/1/fault/abort/percentage"),
    )
    with called(pair, tmp_path, FAULTS / "abort", none) as (_, caller):
        caller.many(300)
        assert caller.codes == {OK: 300}


def test_delay_hits_its_percentage(pair: Versions, tmp_path: Path) -> None:
    with called(pair, tmp_path, FAULTS / "delay") as (mesh, caller):
        caller.many(500, window=64)
        low, high = interval(500, 0.10)
        assert low <= mesh.stats().faults["delays"] <= high
        assert caller.codes == {OK: 500}


def test_delay_v2_leaves_v1_alone(pair: Versions, tmp_path: Path) -> None:
    with called(pair, tmp_path, FAULTS / "delay-v2") as (mesh, caller):
        began_s = time.monotonic()
        assert caller.predict([("version", "v2")]) is OK
        assert time.monotonic() - began_s >= 0.5
        caller.many(50)
        assert caller.codes == {OK: 51}
        assert mesh.stats().faults["delays"] == caller.versions[2]
        assert caller.versions[1] > 0


@pytest.mark.parametrize("fault", ["abort-one-camera", "delay-one-camera"])
def test_fault_of_one_camera_leaves_the_others_alone(pair: Versions, tmp_path: Path, fault: str) -> None:
    with called(pair, tmp_path, FAULTS / fault) as (mesh, caller):
        kind = "aborts" if fault.startswith("abort") else "delays"
        caller.many(100, CAM_1)
        assert caller.codes == {OK: 100}
        assert mesh.stats().faults[kind] == 0
        caller.many(16, CAM_0)
        assert mesh.stats().faults[kind] == 16
        assert caller.codes[UNAVAILABLE] == (16 if kind == "aborts" else 0)


def test_mirror_v2_sees_every_frame_callers_see_v1(pair: Versions, v2: FakeServer, tmp_path: Path) -> None:
    mirror = ISTIO / "components" / "mirror"
    with called(pair, tmp_path, mirror) as (_, caller):
        caller.many(300)
        assert caller.versions == {1: 300}
        wait_for(lambda: v2.calls == 300)
        v2.delay_s = 1.0  # a slow copy costs the caller nothing
        started = time.monotonic()
        caller.many(20, window=1)
        assert time.monotonic() - started < 0.9
        v2.stop()  # nor does a dead one
        caller.many(300)
        assert caller.codes == {OK: 620}
        assert caller.versions == {1: 620}


def test_without_the_mirror_v2_sees_nothing(
    pair: Versions, v1: FakeServer, v2: FakeServer, tmp_path: Path
) -> None:
    all_v1 = ISTIO / "components" / "weights" / "0"
    with called(pair, tmp_path, all_v1) as (_, caller):
        caller.many(100)
        assert (v1.calls, v2.calls) == (100, 0)
