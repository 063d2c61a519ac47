"""The gateway's TLS, its rate limit and the age of a stream (6 s)."""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mesh.certificates import Authority
from mesh.run import Mesh
from sightline.stack import camera_security
from tests.mesh.live.support import DETECT, ISTIO, Camera, FakeServer, component, operation, running, topology

OK = grpc.StatusCode.OK
MANAGER = "/spec/configPatches/0/patch/value/typed_config"


def limit(folder: Path, tokens: int) -> Path:
    bucket = f"{MANAGER}/token_bucket"
    operations = [
        operation("replace", f"{bucket}/max_tokens", tokens),
        operation("replace", f"{bucket}/tokens_per_fill", 1),
        operation("replace", f"{bucket}/fill_interval", "60s"),
    ]
    return component(folder, "EnvoyFilter", "local-rate-limit", *operations)


def test_rate_limit_answers_resource_exhausted_per_connection(relay: FakeServer, tmp_path: Path) -> None:
    with running(topology({}, relay), tmp_path, limit(tmp_path / "c", 5)) as mesh:
        token = mesh.issuer.token("cam-1")
        with Camera(mesh, token) as camera:
            codes = Counter(camera.code() for _ in range(12))
            assert codes == {OK: 5, grpc.StatusCode.RESOURCE_EXHAUSTED: 7}
            assert mesh.stats().rate_limited == 7
        with another_connection(mesh, token) as camera:  # its own bucket
            assert camera.code() is OK


def another_connection(mesh: Mesh, token: str) -> Camera:
    """A camera whose channel is not the one that gRPC shares between equal targets."""
    return Camera(mesh, token, ca=mesh.ca_file.read_text() + "\n")


def test_without_it_every_stream_passes(relay: FakeServer, tmp_path: Path) -> None:
    none = component(tmp_path / "c", "EnvoyFilter", "local-rate-limit")
    with (
        running(topology({}, relay), tmp_path, none) as mesh,
        Camera(mesh, mesh.issuer.token("cam-1")) as camera,
    ):
        assert Counter(camera.code() for _ in range(120)) == {OK: 120}


def test_the_limit_as_it_stands_lets_a_site_start(relay: FakeServer, tmp_path: Path) -> None:
    """100 streams at once on one connection, and no tight loop after that."""
    with running(topology({}, relay), tmp_path) as mesh, Camera(mesh, mesh.issuer.token("cam-1")) as camera:
        started = time.monotonic()
        codes = Counter(camera.code() for _ in range(300))
        refilled = 10 * (time.monotonic() - started + 1)
        assert 100 <= codes[OK] <= 100 + refilled
        assert codes[OK] + codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 300


@pytest.mark.parametrize("bound", [True, False])
def test_a_stream_ends_at_its_age(relay: FakeServer, tmp_path: Path, bound: bool) -> None:
    seconds = operation("replace", f"{MANAGER}/common_http_protocol_options/max_stream_duration", "1s")
    age = [component(tmp_path / "c", "EnvoyFilter", "stream-limits", *([seconds] if bound else []))]

    def frames() -> Iterator[bytes]:
        for _ in range(20):
            yield b"frame"
            time.sleep(0.1)

    with (
        running(topology({}, relay), tmp_path, *age) as mesh,
        Camera(mesh, mesh.issuer.token("cam-1")) as camera,
    ):
        _, code = camera.stream(frames())  # type: ignore[arg-type]
        assert (code is OK) == (not bound)


def test_a_camera_dials_by_name_too(relay: FakeServer, tmp_path: Path) -> None:
    """The certificate and the routes have the gateway's own host; another name has no route."""
    with running(topology({}, relay), tmp_path) as mesh:
        assert mesh.topology.gateway is not None
        token = mesh.issuer.token("cam-1")
        for name, code in (("detect.example.com", OK), ("localhost", OK)):
            options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
            credentials = grpc.ssl_channel_credentials(mesh.ca_file.read_bytes())
            target = str(mesh.topology.gateway.listen[443])
            with grpc.secure_channel(target, credentials, options) as channel:
                call = channel.stream_stream(DETECT)(
                    iter([b"x"]), timeout=5, metadata=[("authorization", f"Bearer {token}")]
                )
                assert list(call) == [b"x"]
                assert call.code() is code


def test_plaintext_and_old_tls_are_refused(relay: FakeServer, tmp_path: Path) -> None:
    with running(topology({}, relay), tmp_path) as mesh:
        assert mesh.topology.gateway is not None
        address = mesh.topology.gateway.listen[443]
        with grpc.insecure_channel(str(address)) as channel:
            call = channel.unary_unary(DETECT).future(b"", timeout=2)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cadata=mesh.ca_file.read_text())
        with (
            socket.create_connection((address.host, address.port), 2) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            assert tls.version() == "TLSv1.3"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection((address.host, address.port), 2) as raw, pytest.raises(ssl.SSLError):
            context.wrap_socket(raw, server_hostname="localhost")


def test_mutual_tls_asks_for_a_certificate(relay: FakeServer, tmp_path: Path) -> None:
    mutual = ISTIO / "components" / "tls" / "mutual"
    with running(topology({}, relay), tmp_path, mutual) as mesh:
        token = mesh.issuer.token("cam-1")
        with Camera(mesh, token) as camera:
            assert camera.code() is grpc.StatusCode.UNAVAILABLE
        for authority, code in (
            (mesh.gateway_authority, OK),
            (Authority.create("foreign"), grpc.StatusCode.UNAVAILABLE),
        ):
            own = authority.issue(names=["box-1.example.com"])
            with Camera(mesh, token, key=own.key, chain=own.certificate) as camera:
                assert camera.code() is code
        stack = camera_security(mesh)  # what `sightline up` gives its cameras
        assert stack.key is not None
        assert stack.cert is not None
        with Camera(mesh, token, key=stack.key.read_text(), chain=stack.cert.read_text()) as camera:
            assert camera.code() is OK
        assert stack.key.stat().st_mode & 0o077 == 0
    with running(topology({}, relay), tmp_path) as mesh, Camera(mesh, mesh.issuer.token("cam-1")) as camera:
        assert camera.code() is OK
