"""Where the mesh's workloads are on this machine: what the cluster's Services, Pods and DNS say otherwise."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.render.fields import Fields, Report
from mesh.resources import Map, MeshError, Position, load_documents, read_text

HTTP2_PROTOCOLS = ("grpc", "http2", "grpc-web")


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """A Kubernetes Service; `ports`: number -> protocol (the port name's first part, as Istio reads it)."""

    name: str
    namespace: str
    ports: Mapping[int, str]
    domain: str = "cluster.local"

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{self.domain}"

    @property
    def domains(self) -> list[str]:
        """The names under which a client in the same namespace reaches it."""
        return [
            self.host,
            self.name,
            f"{self.name}.{self.namespace}",
            f"{self.name}.{self.namespace}.svc",
        ]


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod. Ports are those of its Service.

    `app` is where the program itself listens, in plain text; `inbound` where its sidecar takes mutual TLS;
    `outbound` where its sidecar takes the program's own calls, by the Service port they are for.
    A workload without `app` runs behind another Envoy: only `inbound` is known here.
    """

    name: str
    service: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    app: Mapping[int, Address] = field(default_factory=dict)
    inbound: Mapping[int, Address] = field(default_factory=dict)
    outbound: Mapping[int, Address] = field(default_factory=dict)
    domain: str = "cluster.local"

    @property
    def identity(self) -> str:
        return f"spiffe://{self.domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class GatewayPod:
    """The ingress gateway's pod: `listen` maps a Gateway resource's port to where it listens here."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    listen: Mapping[int, Address]
    domain: str = "cluster.local"

    @property
    def identity(self) -> str:
        return f"spiffe://{self.domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole local mesh. `jwks` are the public keys (JSON) of the token issuers known here."""

    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]
    gateway: GatewayPod | None = None
    root_namespace: str = "istio-system"
    domain: str = "cluster.local"
    jwks: Mapping[str, str] = field(default_factory=dict)

    def service(self, host: str) -> Service | None:
        return next((service for service in self.services if service.host == host), None)

    def of(self, service: Service) -> list[Workload]:
        return [w for w in self.workloads if (w.service, w.namespace) == (service.name, service.namespace)]

    @property
    def identities(self) -> set[str]:
        """The SPIFFE identities that need a certificate here."""
        own = {w.identity for w in self.workloads if w.app or w.outbound}
        return own | ({self.gateway.identity} if self.gateway else set())


def resolve(host: str, namespace: str, domain: str = "cluster.local") -> str:
    """A host as Istio reads it: a short name is a Service of the resource's own namespace."""
    return f"{host}.{namespace}.svc.{domain}" if host and "." not in host and host != "*" else host


def read_topology(path: Path) -> Topology:
    """The topology of an endpoints file. Raises MeshError with file and line."""
    document = next(iter(load_documents(read_text(path), path)), None)
    report = Report()
    with Fields(document, "endpoints", report, Position(path, 1)) as top:
        namespace = top.text("namespace", "default")
        domain = top.text("trustDomain", "cluster.local")
        services = tuple(_service(entry, namespace, domain) for entry in top.each("services"))
        workloads = tuple(_workload(entry, namespace, domain) for entry in top.each("workloads"))
        gateway = _gateway(top.fields("gateway"), namespace, domain) if "gateway" in top else None
    report.raise_problems()
    topology = Topology(services, workloads, gateway, domain=domain)
    for workload in workloads:
        if not any(workload in topology.of(service) for service in services):
            raise MeshError(f"{path}: workload {workload.name}: no service {workload.service} in this file")
    return topology


def _service(entry: Fields, namespace: str, domain: str) -> Service:
    with entry:
        ports = {}
        for port in entry.each("ports"):
            with port:
                name = port.text("appProtocol") or port.text("name", "tcp")
                ports[port.integer("port", low=1, high=65535) or 0] = name.split("-")[0].lower()
        return Service(entry.text("name"), entry.text("namespace", namespace), ports, domain)


def _workload(entry: Fields, namespace: str, domain: str) -> Workload:
    with entry:
        name = entry.text("name")
        service = entry.text("service", name)
        return Workload(
            name=name,
            service=service,
            namespace=entry.text("namespace", namespace),
            service_account=entry.text("serviceAccount", service),
            labels=entry.mapping("labels"),
            app=_addresses(entry, "app"),
            inbound=_addresses(entry, "inbound"),
            outbound=_addresses(entry, "outbound"),
            domain=domain,
        )


def _gateway(entry: Fields, namespace: str, domain: str) -> GatewayPod:
    with entry:
        return GatewayPod(
            name=entry.text("name", "istio-ingressgateway"),
            namespace=entry.text("namespace", namespace),
            service_account=entry.text("serviceAccount", "istio-ingressgateway"),
            labels=entry.mapping("labels"),
            listen=_addresses(entry, "listen"),
            domain=domain,
        )


def _addresses(entry: Fields, key: str) -> dict[int, Address]:
    """`{8500: "127.0.0.1:18500"}`: Service port to address; only loopback addresses."""
    value = entry.take(key)
    if value is None:
        return {}
    if not isinstance(value, Map):
        raise entry.fail(key, 'expected ports and addresses, such as 8500: "127.0.0.1:18500"')
    found = {}
    for port, text in value.items():
        host, _, number = str(text).rpartition(":")
        try:
            loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
            address = Address(host.strip("[]"), int(number))
            service_port = int(port)
        except ValueError:
            raise entry.fail(key, f"{port}: {text}: expected port: loopback-ip:port") from None
        if not loopback or not 0 < address.port < 65536:
            raise entry.fail(key, f"{text}: expected a loopback address and a port in 1..65535")
        found[service_port] = address
    return found
