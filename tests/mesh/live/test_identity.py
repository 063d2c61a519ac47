"""Mutual TLS between sidecars: plaintext, foreign certificates and other identities are refused (4 s)."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from pathlib import Path

import grpc
import pytest

from mesh.certificates import Authority, KeyPair
from mesh.render.topology import Address
from mesh.run import Mesh
from tests.mesh.live.support import (
    ISTIO,
    PREDICT,
    Caller,
    FakeServer,
    Versions,
    component,
    outbound,
    running,
    topology,
)

OK, DENIED, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
ALL_V1 = ISTIO / "components" / "weights" / "0"
POLICIES = ("deny-all", "relay-to-tf-serving", "prometheus-to-tf-serving")


def inbound(mesh: Mesh) -> Address:
    return next(w.inbound[8500] for w in mesh.topology.workloads if w.service == "tf-serving")


def without_policies(folder: Path) -> list[Path]:
    return [component(folder / name, "AuthorizationPolicy", name) for name in POLICIES]


def test_plaintext_is_refused_unless_mtls_is_off(tmp_path: Path) -> None:
    with FakeServer(1) as server:
        for components, code in (
            ([], UNAVAILABLE),
            # Permissive (the default without a PeerAuthentication) takes plaintext, but it has no identity ...
            ([component(tmp_path / "p", "PeerAuthentication", "default")], DENIED),
            # ... and without policies either it comes through.
            ([tmp_path / "p", *without_policies(tmp_path / "q")], OK),
        ):
            with running(topology({"v1": [server]}), tmp_path, ALL_V1, *components) as mesh:
                with grpc.insecure_channel(str(inbound(mesh))) as channel:
                    assert channel.unary_unary(PREDICT).future(b"", timeout=3).code() is code
                with Caller(outbound(mesh)) as caller:  # the relay's way is mutual TLS in each case
                    assert caller.predict() is OK


@pytest.mark.parametrize("policies", [True, False])
def test_another_identity_gets_permission_denied(
    pair: Versions, v1: FakeServer, v2: FakeServer, tmp_path: Path, policies: bool
) -> None:
    """A workload of the mesh whose service account is not the relay's."""
    authority = Authority.create("shared")
    components = [] if policies else without_policies(tmp_path / "q")
    with running(topology(pair), tmp_path, *components, authority=authority) as mesh:
        others = [
            dataclasses.replace(workload, app={})  # they run behind the first mesh's Envoy
            for workload in mesh.topology.workloads
            if workload.service == "tf-serving"
        ]
        intruder = topology({}, account="somebody-else")
        intruder = dataclasses.replace(intruder, workloads=(*others, *intruder.workloads))
        with (
            running(intruder, tmp_path, authority=authority) as second,
            Caller(outbound(second)) as caller,
        ):
            assert caller.predict() is (DENIED if policies else OK)
        with Caller(outbound(mesh)) as caller:
            assert caller.predict() is OK
            assert v1.calls + v2.calls == 1 + (not policies)


def handshake(address: Address, own: KeyPair | None, root: Authority, folder: Path) -> bytes:
    """A TLS handshake, and the first bytes that the server sends. Raises OSError where it refuses."""
    context = ssl.create_default_context(cadata=root.certificate)
    context.check_hostname = False  # the name is a SPIFFE URI
    context.set_alpn_protocols(["h2"])
    if own is not None:
        file = folder / "own.pem"
        file.write_text(own.certificate + own.key)
        context.load_cert_chain(file)
    with socket.create_connection((address.host, address.port), 3) as raw, context.wrap_socket(raw) as tls:
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        return tls.recv(9)


def test_only_a_certificate_of_the_mesh_gets_in(tmp_path: Path) -> None:
    with FakeServer(1) as server, running(topology({"v1": [server]}), tmp_path) as mesh:
        address = inbound(mesh)
        identity = "spiffe://cluster.local/ns/object-detection/sa/object-detection-client"
        good = mesh.authority.issue(uris=[identity])
        assert handshake(address, good, mesh.authority, tmp_path)[3] == 4  # SETTINGS: HTTP/2 is spoken
        refused = {
            "none": None,
            "of another root": Authority.create("foreign").issue(uris=[identity]),
            "of another trust domain": mesh.authority.issue(uris=["spiffe://elsewhere/ns/a/sa/b"]),
            "the gateway's": mesh.gateway_authority.issue(names=["box.example.com"]),
        }
        for own in refused.values():
            with pytest.raises((ssl.SSLError, ConnectionError)):
                assert handshake(address, own, mesh.authority, tmp_path)[3] != 4


def test_a_server_with_another_identity_is_not_spoken_to(tmp_path: Path) -> None:
    """The caller's sidecar checks the server's SPIFFE name as well."""
    authority = Authority.create("shared")
    with FakeServer(1) as server:
        where = topology({"v1": [server]})
        impostor = tuple(
            dataclasses.replace(workload, service_account="impostor", outbound={})
            for workload in where.workloads[:1]
        )
        with running(dataclasses.replace(where, workloads=impostor), tmp_path, authority=authority) as behind:
            expected = dataclasses.replace(behind.topology.workloads[0], service_account="tf-serving", app={})
            front = dataclasses.replace(where, workloads=(expected, *where.workloads[1:]))
            with running(front, tmp_path, authority=authority) as mesh, Caller(outbound(mesh)) as caller:
                assert {caller.predict() for _ in range(5)} == {UNAVAILABLE}
                assert server.calls == 0
