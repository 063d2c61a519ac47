"""The stack's parts and how they are joined: model servers, relay, and the mesh between them.

camera ── TLS, token ── gateway ══ relay ══ v1, v2        with the mesh
camera ── relay ── v1                                     without
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from client.security import Security
from mesh.stack import RELAY, SERVING
from model import contract
from sightline.models import ServedModel
from sightline.monitoring.prometheus import ENVOY, Target
from sightline.ports import LOOPBACK, Ports, free_port
from sightline.processes import ChildDied, Children
from sightline.ready import wait_serving

if TYPE_CHECKING:
    from mesh.render.topology import Address
    from mesh.run import Mesh

CAMERA_LIFETIME = dt.timedelta(days=365)  # of a certificate that goes with the stack
READY_TIMEOUT_S = 180.0  # TensorFlow's import, the model's load and warm-up on a slow machine


@dataclass(frozen=True)
class Entrance:
    """Where cameras stream to, and how they get in."""

    address: str  # host:port
    security: Security
    check: Callable[[], None]  # raises ChildDied if a part of the stack is gone
    targets: tuple[Target, ...] = ()  # what Prometheus may scrape


def start_server(children: Children, name: str, model: ServedModel, port: int, rest_port: int = 0) -> None:
    """Start a model server for one version folder's base path. Its metrics are at `rest_port`, if it has one."""
    monitoring = children.log_folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")
    children.start(name, [
        sys.executable, "-m", "sightline", "serve", f"--port={port}", f"--rest_api_port={rest_port}",
        f"--model_name={contract.MODEL_NAME}", f"--model_base_path={model.base.resolve()}",
        "--max_num_load_retries=0",  # a model that can't be loaded ends it at once
        "--enable_grpc_healthcheck_service=true", f"--monitoring_config_file={monitoring}",
    ])  # fmt: skip


def wait_loaded(children: Children, model: ServedModel, address: str) -> None:
    """Wait until a model server of `start_server` serves. Raises ChildDied if it cannot load the model, for one."""
    try:
        wait_serving(address, READY_TIMEOUT_S, children.check)
    except ChildDied as error:
        hint = f"If the model is damaged, remove {model.base}: it is exported again."
        raise ChildDied(f"{error}\n{hint}") from None


def start_relay(
    children: Children, target: str, ports: Ports, name: str = "relay", options: Sequence[str] = ()
) -> str:
    """Start the relay towards `target`, wait until it serves, and return its address."""
    address = f"{LOOPBACK}:{ports.relay_port}"
    children.start(name, [
        sys.executable, "-m", "sightline", "relay", "--listen", address, "--target", target,
        "--http-port", str(ports.http_port), *options,
    ])  # fmt: skip
    wait_serving(address, READY_TIMEOUT_S, children.check)
    return address


@contextmanager
def plain_stack(children: Children, model: ServedModel, ports: Ports) -> Iterator[Entrance]:
    """One model server and the relay, nothing between them."""
    start_server(children, "server", model, ports.port, ports.rest_api_port)
    wait_loaded(children, model, f"{LOOPBACK}:{ports.port}")
    address = start_relay(children, f"{LOOPBACK}:{ports.port}", ports)
    targets = (_relay_target(ports), Target(SERVING, f"{LOOPBACK}:{ports.rest_api_port}", "v1"))
    yield Entrance(address, Security(), children.check, targets)


@contextmanager
def meshed_stack(
    children: Children,
    models: dict[str, ServedModel],
    ports: Ports,
    components: Sequence[str],
    say: Callable[[str], None],
    rollout: Path | None = None,
    relay_options: Sequence[str] = (),
) -> Iterator[Entrance]:
    """A model server for each version ("v1", "v2") and the relay, joined by istio/base and `components`.

    `rollout`: the folder by which `sightline rollout` moves the weights.
    Raises mesh.resources.MeshError for the configuration.
    """
    from mesh.render.topology import Address

    servers: dict[str, list[Address]] = {}
    targets = []
    for version, model in models.items():
        first = not servers
        port, rest_port = (ports.port, ports.rest_api_port) if first else (free_port(), free_port())
        start_server(children, f"server-{version}", model, port, rest_port)
        servers[version] = [Address(LOOPBACK, port)]
        targets.append(Target(SERVING, f"{LOOPBACK}:{rest_port}", version))
    for version, model in models.items():
        (address,) = servers[version]
        wait_loaded(children, model, str(address))
    with join(
        children, servers, ports, components, say, rollout=rollout, relay_options=relay_options
    ) as entrance:
        yield replace(entrance, targets=(*entrance.targets, *targets))


@contextmanager
def join(
    children: Children,
    servers: dict[str, list[Address]],
    ports: Ports,
    components: Sequence[str],
    say: Callable[[str], None],
    relay_name: str = "relay",
    rollout: Path | None = None,
    relay_options: Sequence[str] = (),
) -> Iterator[Entrance]:
    """The mesh and a relay in front of model servers that run already; see `meshed_stack`."""
    from mesh.kustomize import load
    from mesh.render.topology import Address
    from mesh.run import Mesh, MeshConfig
    from mesh.run.rollout import RolloutFolder, subsets_of, with_rollout
    from mesh.stack import component_folder, istio_folder, stack_topology

    istio = istio_folder()
    outbound, stats = Address(LOOPBACK, free_port()), Address(LOOPBACK, free_port())
    folders = tuple(component_folder(name, istio) for name in components)
    if rollout is not None:
        RolloutFolder(rollout).prepare()
        folders = with_rollout(folders, RolloutFolder(rollout))
    config = MeshConfig(
        (istio / "base",),
        stack_topology(
            servers,
            Address(LOOPBACK, ports.relay_port),
            outbound=outbound,
            gateway=Address(LOOPBACK, ports.gateway_port or free_port()),
        ),
        folders,
        mesh_config=istio / "install" / "istiod-values.yaml",
        stats=stats,
        logs=children.log_folder,
        log=say,
    )
    with Mesh(config) as mesh:
        start_relay(children, str(outbound), ports, relay_name, relay_options)
        if rollout is not None:
            assert mesh.envoy is not None
            http = f"http://{LOOPBACK}:{ports.http_port}"
            RolloutFolder(rollout).announce(
                mesh.envoy.admin_socket, http, subsets_of(load(config.paths, folders))
            )
        gateway = mesh.topology.gateway
        assert gateway is not None
        (listen,) = gateway.listen.values()
        security = camera_security(mesh)
        targets = (_relay_target(ports), Target(ENVOY, str(stats)))
        yield Entrance(str(listen), security, lambda: _check(children, mesh), targets)


def camera_security(mesh: Mesh) -> Security:
    """How cameras get in. The certificate, which goes with the mesh, is what its gateway asks for with the component
    tls/mutual, and ignores without."""
    from mesh.certificates import write_private

    own = mesh.gateway_authority.issue(names=["localhost"], lifetime=CAMERA_LIFETIME)
    cert, key = mesh.folder / "camera.pem", mesh.folder / "camera-key.pem"
    write_private(cert, own.certificate)
    write_private(key, own.key)
    return Security(ca=mesh.ca_file, token_of=mesh.issuer.token, cert=cert, key=key)


def _relay_target(ports: Ports) -> Target:
    return Target(RELAY, f"{LOOPBACK}:{ports.http_port}")


def _check(children: Children, mesh: Mesh) -> None:
    from mesh.resources import MeshError

    children.check()
    assert mesh.envoy is not None
    try:
        mesh.envoy.check_alive()
    except MeshError as error:
        raise ChildDied(str(error)) from error
