"""A stack on this machine for a load: stand-in model servers, and relay and mesh in front of any."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loadtest.ports import free_address
from mesh.render.topology import Address
from mesh.run import Mesh, MeshConfig
from mesh.stack import istio_folder, stack_topology
from model.child import bound

READY_S = 20.0
RUN_RELAY = """
import sys
from client.relay.config import RelayConfig
from client.relay.main import run
sys.exit(run(RelayConfig(target=sys.argv[1], listen=sys.argv[2], http_port=None)))
"""


@dataclass(frozen=True)
class StandInConfig:
    """A model server that finds nothing and takes `delay_ms` for it, `workers` at a time (0: any number)."""

    delay_ms: float
    workers: int = 0


class StandIns:
    """A stand-in for each version ("v1"), which can be killed and started again on its port. A context manager."""

    def __init__(self, versions: tuple[str, ...], config: StandInConfig) -> None:
        self.addresses = {version: free_address() for version in versions}
        self._config = config
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, version: str) -> None:
        """Start one, and wait until it listens."""
        number = version.removeprefix("v")
        command = [sys.executable, "-m", "client.null_server", "--port", str(self.addresses[version].port)]
        command += ["--delay-ms", str(self._config.delay_ms), "--workers", str(self._config.workers)]
        process = subprocess.Popen(
            bound([*command, "--model-version", number]), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        self._processes[version] = process

    def kill(self, version: str) -> None:
        """End one at once."""
        self._processes[version].kill()
        self._processes[version].communicate()

    def __enter__(self) -> Self:
        for version in self.addresses:
            self.start(version)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for version in self._processes:
            self.kill(version)


@contextmanager
def relay(target: Address, listen: Address) -> Iterator[None]:
    """The relay, as a process."""
    command = [sys.executable, "-c", RUN_RELAY, str(target), str(listen)]
    process = subprocess.Popen(bound(command), stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(str(listen)) as channel:
            request = health_pb2.HealthCheckRequest()
            check = health_pb2_grpc.HealthStub(channel).Check
            while (
                check(request, wait_for_ready=True, timeout=READY_S).status
                != health_pb2.HealthCheckResponse.SERVING
            ):
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def meshed(servers: Mapping[str, Address], state: Path) -> Iterator[Mesh]:
    """istio/base in a real Envoy in front of model servers that run, and a relay in it; `Mesh.use` changes it.

    `state` keeps the mesh's keys. Raises MeshError where it can't start.
    """
    istio = istio_folder()
    outbound, listen = free_address(), free_address()
    where = stack_topology({v: [address] for v, address in servers.items()}, listen, outbound=outbound)
    values = istio / "install" / "istiod-values.yaml"
    config = MeshConfig((istio / "base",), where, mesh_config=values, state=state, watch=False)
    with Mesh(config) as mesh, relay(outbound, listen):
        yield mesh


def gateway_address(mesh: Mesh) -> str:
    """Where cameras come in, host:port."""
    assert mesh.topology.gateway is not None
    (address,) = mesh.topology.gateway.listen.values()
    return str(address)
