"""Fake TF Serving servers, a topology for them, and the resources that the live tests start from."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import grpc
import yaml

from client.wire import tfserving_pb2
from mesh.render.topology import Address, Topology
from mesh.run import Mesh, MeshConfig
from mesh.stack import stack_topology

ISTIO = Path(__file__).parents[3] / "istio"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
DETECT = "/sightline.v1.Relay/Detect"
V1 = "outbound|8500|v1|tf-serving.object-detection.svc.cluster.local"
Z_999 = 3.2905  # two-sided 99.9 %
Z_SURE = 5.0  # 99.99994 %: where one test has many such checks
Metadata = Sequence[tuple[str, str]]


@dataclass
class FakeServer:
    """A server with TF Serving's Predict, and Detect that echoes. `fail` sets the status of what comes next."""

    version: int
    fail: grpc.StatusCode | None = None
    fail_next: int = 0  # how many of the next calls fail with UNAVAILABLE
    delay_s: float = 0.0
    calls: int = 0
    metadata: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self.start(0)
        return self

    def start(self, port: int) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(32), options=options)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def predict(self, request: bytes, context: Any) -> bytes:
        with self._lock:
            self.calls += 1
            self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
            failing = self.fail or (grpc.StatusCode.UNAVAILABLE if self.fail_next > 0 else None)
            self.fail_next -= self.fail_next > 0
        if self.delay_s:
            time.sleep(self.delay_s)
        if failing:
            context.abort(failing, f"v{self.version} fails as told")
        answer = tfserving_pb2.PredictResponse()
        answer.model_spec.version.value = self.version
        return bytes(answer.SerializeToString())

    def detect(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        with self._lock:
            self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        yield from requests


Versions = dict[str, list[FakeServer]]  # the servers of each version


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: FakeServer) -> None:
        self._methods = {
            PREDICT: grpc.unary_unary_rpc_method_handler(server.predict),
            DETECT: grpc.stream_stream_rpc_method_handler(server.detect),
        }

    def service(self, details: Any) -> Any:
        return self._methods.get(details.method)


def topology(
    versions: Mapping[str, Sequence[FakeServer]],
    relay: FakeServer | None = None,
    account: str = "object-detection-client",
) -> Topology:
    """v1, v2, ... with their servers; the caller's sidecar; the gateway and a relay where one is given."""
    servers = {version: [one.address for one in servers] for version, servers in versions.items()}
    made = stack_topology(servers, relay.address if relay else None)
    workloads = [replace(w, service_account=account) if w.outbound else w for w in made.workloads]
    return replace(made, workloads=tuple(workloads))


def outbound(mesh: Mesh) -> str:
    """Where the relay's own calls to tf-serving go in."""
    return str(next(w.outbound[8500] for w in mesh.topology.workloads if w.outbound))


@dataclass
class Caller:
    """Calls Predict, and counts versions and codes."""

    target: str
    versions: Counter[int] = field(default_factory=Counter)
    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        options = [("grpc.enable_retries", 0), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(self.target, options=options)
        self._predict = self._channel.unary_unary(PREDICT)
        grpc.channel_ready_future(self._channel).result(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def predict(self, metadata: Metadata = (), body: bytes = b"", timeout_s: float = 10.0) -> grpc.StatusCode:
        """One call; its status."""
        return self._count(self._predict.future(body, timeout=timeout_s, metadata=metadata))

    def many(self, count: int, metadata: Metadata = (), window: int = 16, body: bytes = b"") -> None:
        """`count` calls with `window` of them in flight."""
        pending = []
        for _ in range(count):
            pending.append(self._predict.future(body, timeout=10, metadata=metadata))
            if len(pending) >= window:
                self._count(pending.pop(0))
        for call in pending:
            self._count(call)

    def _count(self, call: Any) -> grpc.StatusCode:
        code: grpc.StatusCode = call.code()  # waits
        self.codes[code] += 1
        if code is grpc.StatusCode.OK:
            self.versions[
                tfserving_pb2.PredictResponse.FromString(call.result()).model_spec.version.value
            ] += 1
        else:
            self.details.append(call.details())
        return code


def component(folder: Path, kind: str, name: str, *operations: Mapping[str, Any]) -> Path:
    """A kustomize component that applies JSON 6902 operations to one object; without any it deletes it."""
    folder.mkdir(parents=True)
    target = {"kind": kind, "name": name}
    patch: Any = list(operations)
    if not operations:
        patch = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "$patch": "delete"}
    entry = {"target": target, "patch": "\n" + yaml.safe_dump(patch)}
    text = yaml.safe_dump({"kind": "Component", "patches": [entry]})
    (folder / "kustomization.yaml").write_text(text)
    return folder


def operation(op: str, path: str, value: Any = None) -> dict[str, Any]:
    return {"op": op, "path": path, **({} if value is None else {"value": value})}


@contextmanager
def running(
    where: Topology, state: Path, *components: Path, base: Path = ISTIO / "base", **more: Any
) -> Iterator[Mesh]:
    """The mesh of istio/base with components; `more` goes to MeshConfig."""
    more = {"watch": False, "mesh_config": ISTIO / "install" / "istiod-values.yaml", **more}
    config = MeshConfig((base,), where, components, state=state, **more)
    with Mesh(config) as mesh:
        yield mesh


@contextmanager
def called(versions: Versions, state: Path, *components: Path, **more: Any) -> Iterator[tuple[Mesh, Caller]]:
    """The mesh of istio/base with components before the servers of each version, and a caller in the relay's place."""
    with running(topology(versions), state, *components, **more) as mesh, Caller(outbound(mesh)) as caller:
        yield mesh, caller


@dataclass
class Camera:
    """Opens Detect streams at the gateway, over TLS, with a token."""

    mesh: Mesh
    token: str | None = None
    ca: str | None = None
    key: str | None = None
    chain: str | None = None

    def __enter__(self) -> Self:
        gateway = self.mesh.topology.gateway
        assert gateway is not None
        parts = [self.ca or self.mesh.ca_file.read_text(), self.key, self.chain]
        credentials = grpc.ssl_channel_credentials(*[part.encode() if part else None for part in parts])
        self._channel = grpc.secure_channel(str(gateway.listen[443]), credentials)
        self._detect = self._channel.stream_stream(DETECT)
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def stream(
        self, frames: Sequence[bytes] = (b"frame",), metadata: Metadata = ()
    ) -> tuple[list[bytes], Any]:
        """One stream from start to end: what came back, and its status code."""
        headers = [
            *metadata,
            *([("authorization", f"Bearer {self.token}")] if self.token is not None else []),
        ]
        call = self._detect(iter(frames), timeout=10, metadata=headers)
        try:
            return list(call), call.code()
        except grpc.RpcError:
            return [], call.code()

    def code(self, metadata: Metadata = ()) -> Any:
        return self.stream(metadata=metadata)[1]


def free_address() -> Address:
    """A loopback address that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return Address("127.0.0.1", held.getsockname()[1])


def wait_for(check: Callable[[], bool], timeout_s: float = 10.0) -> float:
    """Seconds until `check()` is true; an assertion where it never is."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < timeout_s, "did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - started


def interval(calls: int, share: float, z: float = Z_SURE) -> tuple[float, float]:
    """Where the count of a binomial lies, by its normal approximation."""
    half = z * math.sqrt(calls * share * (1 - share))
    return calls * share - half, calls * share + half


def assert_share(counts: Callable[[], tuple[int, int]], share: float) -> None:
    """The share of the first of two counts is in the 99.9 % interval. A right one misses it once in 1,000, so it
    gets a second try; a wrong one misses it twice."""
    for attempt in range(2):
        first, other = counts()
        low, high = interval(first + other, share, Z_999)
        if low <= first <= high:
            return
        assert attempt == 0, f"{first} of {first + other} is not {share:.0%}"
