"""`sightline mesh run`: the local mesh until Ctrl-C, with a line whenever its counts change."""

from __future__ import annotations

import http.client
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.resources import MeshError
from mesh.run.local import Mesh, MeshConfig
from mesh.run.stats import MeshStats

STATUS_EVERY_S = 2.0


def describe(mesh: Mesh) -> Iterator[str]:
    """Where everything listens, a line each."""
    gateway = mesh.topology.gateway
    if gateway is not None:
        for port, address in gateway.listen.items():
            yield f"gateway port {port} at {address} (CA {mesh.ca_file}; a token: sightline mesh token --camera CAM)"
    for workload in mesh.topology.workloads:
        for port, address in workload.outbound.items():
            yield f"{workload.name} calls port {port} at {address}"
        for port, app in workload.app.items():
            yield f"{workload.name} takes port {port} at {workload.inbound[port]} (mutual TLS), program at {app}"


def status_line(stats: MeshStats) -> str:
    """What the mesh did since its start: each version's share, then every protection or fault that acted."""
    served = stats.served()
    total = sum(served.values())
    shares = (
        [f"{name} {100 * count / total:.0f} % ({count})" for name, count in served.items()] if total else []
    )
    counts: dict[str, int] = {}
    for of_cluster in stats.clusters.values():
        for name, value in of_cluster.items():
            if name not in {"requests", "completed"}:
                counts[name] = counts.get(name, 0) + value
    counts |= {**stats.faults, "rate_limited": stats.rate_limited}
    acted = [f"{name.replace('_', ' ')} {value}" for name, value in counts.items() if value]
    return " · ".join([*shares, *acted]) or "no requests yet"


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(config: MeshConfig) -> int:
    """Run the mesh until SIGINT or SIGTERM. Returns the exit status: 0, or 1 after a line that says why.

    Raises OSError for a folder of logs that can't be written."""
    try:
        with _stopped_by_signals() as stop, Mesh(config) as mesh:
            for line in describe(mesh):
                config.log(line)
            shown = ""
            while not stop.wait(STATUS_EVERY_S):
                assert mesh.envoy is not None
                mesh.envoy.check_alive()
                line = status_line(mesh.stats())
                if line != shown:
                    config.log(line)
                    shown = line
    except (MeshError, http.client.HTTPException) as error:
        print(f"sightline mesh run: {error}", file=sys.stderr)
        return 1
    return 0
