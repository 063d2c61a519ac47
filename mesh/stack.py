"""Sightline's own stack as a mesh: the names that istio/ uses, and where its programs are on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.render.topology import Address, GatewayPod, Service, Topology, Workload
from mesh.resources import MeshError

NAMESPACE = "object-detection"
SERVING, RELAY = "tf-serving", "object-detection-client"
SERVING_PORT, REST_PORT, RELAY_PORT, GATEWAY_PORT = 8500, 8501, 8600, 443
FREE = Address("127.0.0.1", 0)
ENDPOINTS = Path(__file__).with_name("endpoints.yaml")


def istio_folder() -> Path:
    """The project's istio/: beside the package in a checkout, inside it when installed. Raises MeshError."""
    package = Path(__file__).parent
    for folder in (package.parent / "istio", package / "istio"):
        if (folder / "base" / "kustomization.yaml").is_file():
            return folder
    raise MeshError("istio/ is not there: name the files or folders to run")


def component_folder(name: str, istio: Path) -> Path:
    """A component by its name below istio/components ("faults/abort"), or by its path. Raises MeshError."""
    for folder in (istio / "components" / name, Path(name)):
        if (folder / "kustomization.yaml").is_file():
            return folder
    known = sorted(
        str(file.parent.relative_to(istio / "components"))
        for file in (istio / "components").rglob("kustomization.yaml")
    )
    raise MeshError(f"no component {name}; there are {', '.join(known)}")


def stack_topology(
    servers: Mapping[str, Sequence[Address]],
    relay: Address | None,
    *,
    outbound: Address = FREE,
    gateway: Address | None = FREE,
) -> Topology:
    """The stack with the programs at the given addresses; the proxies' own ports are free ones unless given.

    `servers`: for each version ("v1") where its model servers listen. `relay`: where the relay listens; None for
    a caller without one, then there is no gateway either. `outbound`: what the relay takes for its model server.
    """
    workloads = [
        Workload(
            name=f"{SERVING}-{version}" + (f"-{index}" if index else ""),
            service=SERVING,
            namespace=NAMESPACE,
            service_account=SERVING,
            labels={"app": SERVING, "version": version},
            app={SERVING_PORT: address},
            inbound={SERVING_PORT: FREE},
        )
        for version, addresses in servers.items()
        for index, address in enumerate(addresses)
    ]
    caller = Workload(
        name="relay",
        service=RELAY,
        namespace=NAMESPACE,
        service_account=RELAY,
        labels={"app": RELAY},
        app={RELAY_PORT: relay} if relay else {},
        inbound={RELAY_PORT: FREE} if relay else {},
        outbound={SERVING_PORT: outbound},
    )
    services = (
        Service(SERVING, NAMESPACE, {SERVING_PORT: "grpc", REST_PORT: "http"}),
        Service(RELAY, NAMESPACE, {RELAY_PORT: "grpc"}),
    )
    pod = None
    if relay is not None and gateway is not None:
        labels = {"istio": "ingress"}
        pod = GatewayPod("gateway", "istio-ingress", "istio-ingress", labels, {GATEWAY_PORT: gateway})
    return Topology(services, (*workloads, caller), pod)
