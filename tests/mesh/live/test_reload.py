"""A change of the files while calls run: live within a second, nothing lost, a bad edit without effect (6 s)."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from mesh.resources import MeshError
from tests.mesh.live.support import ISTIO, Caller, FakeServer, Versions, called, wait_for


@contextmanager
def traffic(caller: Caller) -> Iterator[None]:
    """Calls without a pause, 8 of them in flight, until the block ends."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            caller.many(16, window=8)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def wait_for_line(lines: list[str], count: int) -> float:
    """Seconds until the mesh has said `count` things."""
    return wait_for(lambda: len(lines) >= count)


def wait_for_calls(server: FakeServer, more: int) -> None:
    goal = server.calls + more
    wait_for(lambda: server.calls >= goal)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of istio/ to edit."""
    return Path(shutil.copytree(ISTIO, tmp_path / "istio"))


def test_weight_edit_is_live_within_a_second_and_loses_nothing(
    pair: Versions, v1: FakeServer, v2: FakeServer, copy: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    file = copy / "base" / "serving" / "virtual-service-tf-serving-80-20.yaml"
    with (
        called(pair, tmp_path, base=copy / "base", watch=True, log=lines.append) as (_, caller),
        traffic(caller),
    ):
        wait_for(lambda: v1.calls > 100)
        times = []
        for old, new, silent in (("weight: 80", "weight: 0", v1), ("weight: 0", "weight: 80", None)):
            edit(file, old, new)
            times.append(wait_for_line(lines, len(lines) + 1))
            wait_for_calls(v2, 20)  # what was routed before the change has arrived by now
            v1_before = v1.calls
            wait_for_calls(v2, 100)
            assert (v1.calls == v1_before) == (silent is v1)
    assert max(times) < 1.0
    assert caller.codes == {grpc.StatusCode.OK: caller.codes.total()}
    assert v1.calls + v2.calls == caller.codes.total()
    assert len(lines) == 2


def test_without_watching_an_edit_has_no_effect(
    pair: Versions, v1: FakeServer, copy: Path, tmp_path: Path
) -> None:
    file = copy / "base" / "serving" / "virtual-service-tf-serving-80-20.yaml"
    with called(pair, tmp_path, base=copy / "base") as (_, caller):
        edit(file, "weight: 80", "weight: 0")
        time.sleep(0.5)
        caller.many(100)
        assert v1.calls > 50


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("weight: 20", "weight: many", "virtual-service-tf-serving-80-20.yaml:56: VirtualService tf-serving"),
        ("subset: v2", "subset: v3", "no DestinationRule defines v3"),
        ("timeout: 15s", "timeout: 15", "expected a duration"),
        ("retryOn: connect-failure", "retryOn: no-such-policy", "no such retry policy"),
        ("route:", "corsPolicy: {}\n      route:", "corsPolicy is used here but not translated"),
        ("http:", "http: [", "not YAML"),
        ("", "", "the file is empty"),
        # Translated, and refused by Envoy itself.
        ("exact: v2", 'regex: "["', "refuses"),
    ],
)
def test_a_bad_edit_keeps_the_last_good_configuration(
    pair: Versions,
    v1: FakeServer,
    copy: Path,
    tmp_path: Path,
    old: str,
    new: str,
    says: str,
) -> None:
    lines: list[str] = []
    file = copy / "base" / "serving" / "virtual-service-tf-serving-80-20.yaml"
    good = file.read_text()
    with called(pair, tmp_path, base=copy / "base", watch=True, log=lines.append) as (_, caller):
        assert old in good
        file.write_text(good.replace(old, new) if old else new)
        wait_for(lambda: bool(lines))
        assert lines[0].startswith("mesh: the last good configuration stays: ")
        assert says in lines[0]
        assert file.name in lines[0]
        caller.many(100)
        assert v1.calls > 50
        file.write_text(good.replace("weight: 80", "weight: 0"))
        wait_for(lambda: len(lines) > 1)
        assert lines[1].startswith("mesh: took over"), lines
        before = v1.calls
        caller.many(50)
        assert v1.calls == before
        assert caller.codes == {grpc.StatusCode.OK: 150}


def test_limits_and_policies_change_under_traffic_without_a_lost_call(
    pair: Versions, v1: FakeServer, copy: Path, tmp_path: Path
) -> None:
    """Clusters (DestinationRule) and listeners (AuthorizationPolicy) are replaced as well as routes."""
    lines: list[str] = []
    rule = copy / "base" / "serving" / "destination-rule-tf-serving.yaml"
    policy = copy / "base" / "east-west" / "authorization-policy-relay-to-tf-serving.yaml"
    with (
        called(pair, tmp_path, base=copy / "base", watch=True, log=lines.append) as (_, caller),
        traffic(caller),
    ):
        edit(rule, "http2MaxRequests: 96", "http2MaxRequests: 95")
        wait_for(lambda: len(lines) == 1)
        edit(
            policy,
            "methods:\n              - POST",
            "methods:\n              - POST\n              - GET",
        )
        wait_for(lambda: len(lines) == 2)
        seen = v1.calls
        wait_for(lambda: v1.calls > seen + 100)
    assert all(line.startswith("mesh: took over") for line in lines)
    assert caller.codes == {grpc.StatusCode.OK: caller.codes.total()}


def test_components_change_while_it_runs(pair: Versions, tmp_path: Path) -> None:
    """A fault comes and goes; a component that does not fit leaves all as it was."""
    components = ISTIO / "components"
    with called(pair, tmp_path) as (mesh, caller):
        mesh.use(components / "weights" / "100")
        caller.many(50)
        assert caller.versions == {2: 50}
        with pytest.raises(MeshError, match="not a folder with a kustomization"):
            mesh.use(tmp_path / "none")
        caller.many(50)
        assert caller.versions == {2: 100}
        mesh.use(components / "faults" / "abort")
        caller.many(300)
        assert caller.codes[grpc.StatusCode.UNAVAILABLE] > 0
        mesh.use()
        failed = caller.codes[grpc.StatusCode.UNAVAILABLE]
        caller.many(100)
        assert caller.codes[grpc.StatusCode.UNAVAILABLE] == failed
