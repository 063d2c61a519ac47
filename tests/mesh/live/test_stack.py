"""A camera's stream through gateway, relay and both sidecars to two versions (8 s)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from client.wire import relay_pb2
from mesh.render.topology import Address
from mesh.run import Mesh
from mesh.stack import stack_topology
from tests.client.fakes import FakeModelServer, RelayThread, image_of
from tests.mesh.live.support import (
    ISTIO,
    Camera,
    assert_share,
    component,
    free_address,
    operation,
    running,
    wait_for,
)

FAULTS = ISTIO / "components" / "faults"


@contextmanager
def stack(
    state: Path, *components: Path
) -> Iterator[tuple[Mesh, RelayThread, FakeModelServer, FakeModelServer]]:
    """Two fake model servers, the real relay, and the mesh between them."""
    outbound, listen = free_address(), free_address()
    relay = RelayThread(str(outbound))
    relay.port = listen.port
    with FakeModelServer(version=1) as v1, FakeModelServer(version=2) as v2:
        servers = {name: [Address("127.0.0.1", server.port)] for name, server in (("v1", v1), ("v2", v2))}
        where = stack_topology(servers, listen, outbound=outbound)
        # The mesh first: a relay that finds nobody at its target waits before it tries again.
        with running(where, state, *components) as mesh, relay:
            yield mesh, relay, v1, v2


def stream(
    mesh: Mesh, count: int, camera: str = "cam-1", token: str = "", metadata: tuple[tuple[str, str], ...] = ()
) -> tuple[list[relay_pb2.Result], grpc.StatusCode]:
    """`count` frames on one stream that wait for their turn, and their results."""
    frames = [
        relay_pb2.Frame(
            camera_id=camera, frame_id=number, wait=True, image=image_of(number % 4)
        ).SerializeToString()
        for number in range(count)
    ]
    with Camera(mesh, token or mesh.issuer.token(camera, canary=True)) as sender:
        call = sender._detect(
            iter(frames), timeout=60, metadata=(("authorization", f"Bearer {sender.token}"), *metadata)
        )
        try:
            results = [relay_pb2.Result.FromString(data) for data in call]
        except grpc.RpcError:
            results = []
        return results, call.code()


def versions(results: list[relay_pb2.Result]) -> Counter[int]:
    return Counter(r.delivered.model_version for r in results if r.WhichOneof("outcome") == "delivered")


def test_one_long_stream_is_split_per_frame(tmp_path: Path) -> None:
    with stack(tmp_path) as (mesh, _, v1, v2):

        def counts() -> tuple[int, int]:
            before = len(v1.requests), len(v2.requests)
            results, code = stream(mesh, 2000)
            assert code is grpc.StatusCode.OK
            assert [result.frame_id for result in results] == list(range(2000))  # in order, none lost
            served = versions(results)
            assert served.total() == 2000
            assert (len(v1.requests) - before[0], len(v2.requests) - before[1]) == (served[1], served[2])
            return served[2], served[1]

        assert_share(counts, 0.2)
        assert v1.requests[0]["sightline-camera-id"] == "cam-1"


def test_the_version_header_travels_to_the_model_only_for_a_canary_camera(tmp_path: Path) -> None:
    with stack(tmp_path) as (mesh, _, _, _):
        chosen, _ = stream(mesh, 100, metadata=(("version", "v2"),))
        assert versions(chosen) == {2: 100}
        ordinary = mesh.issuer.token("cam-1")
        stripped, _ = stream(mesh, 100, token=ordinary, metadata=(("version", "v2"),))
        assert versions(stripped)[1] > 50


@pytest.mark.parametrize(
    ("fault", "errors"),
    [("abort", (1, 90)), ("delay", (0, 0)), ("abort-one-camera", (0, 0)), ("delay-one-camera", (0, 0))],
)
def test_frame_counts_add_up_under_every_fault(tmp_path: Path, fault: str, errors: tuple[int, int]) -> None:
    """The camera is cam-1; what one-camera faults do to cam-0 leaves it alone."""
    with stack(tmp_path, FAULTS / fault) as (mesh, relay, _, _):
        results, code = stream(mesh, 200 if fault == "delay" else 400)
        assert code is grpc.StatusCode.OK
        outcomes = Counter(result.WhichOneof("outcome") for result in results)
        assert outcomes.total() == len(results) == (200 if fault == "delay" else 400)
        assert errors[0] <= outcomes["error"] <= errors[1]
        assert outcomes["delivered"] + outcomes["error"] == len(results)
        relay.wait_idle()
        relay.assert_balanced()
        if fault == "abort-one-camera":
            hit, _ = stream(mesh, 50, camera="cam-0")
            assert Counter(result.WhichOneof("outcome") for result in hit) == {"error": 50}
            assert {result.error.code for result in hit} == {grpc.StatusCode.UNAVAILABLE.value[0]}


def test_a_dead_version_is_ejected_and_comes_back_under_a_stream(tmp_path: Path) -> None:
    """v2 dies and returns while a camera streams: errors are counted, none lost, and v2 serves again."""
    short = component(
        tmp_path / "c",
        "DestinationRule",
        "tf-serving",
        operation("replace", "/spec/trafficPolicy/outlierDetection/baseEjectionTime", "1s"),
    )
    with stack(tmp_path, short) as (mesh, _, _, v2):
        assert versions(stream(mesh, 100)[0])[2] > 0
        v2.kill()
        results, code = stream(mesh, 200)
        outcomes = Counter(result.WhichOneof("outcome") for result in results)
        assert code is grpc.StatusCode.OK
        assert outcomes.total() == 200
        assert outcomes["error"] > 0
        assert versions(results)[2] == 0
        v2.start()
        assert wait_for(lambda: versions(stream(mesh, 20)[0])[2] > 0, 15) < 10


def test_the_relay_is_out_of_reach_but_through_the_gateway(tmp_path: Path) -> None:
    with stack(tmp_path) as (mesh, _, _, _):
        inbound = next(w.inbound[8600] for w in mesh.topology.workloads if w.outbound)
        with grpc.insecure_channel(str(inbound)) as channel:
            call = channel.unary_unary("/sightline.v1.Relay/Detect").future(b"", timeout=3)
            assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_a_token_of_another_camera_is_refused(tmp_path: Path) -> None:
    """The gateway lets it in, since it is a good token; the relay compares its subject with the frame's camera_id."""
    with stack(tmp_path) as (mesh, _, v1, v2):
        results, code = stream(mesh, 5, camera="cam-2", token=mesh.issuer.token("cam-1"))
        assert code is grpc.StatusCode.OK
        assert {result.error.code for result in results} == {grpc.StatusCode.PERMISSION_DENIED.value[0]}
        assert not v1.requests
        assert not v2.requests
        own, _ = stream(mesh, 5, camera="cam-1", token=mesh.issuer.token("cam-1"))
        assert versions(own).total() == 5
