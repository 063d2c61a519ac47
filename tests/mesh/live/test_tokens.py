"""Who may open a stream at the gateway, and with which model version (5 s)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mesh.run import Mesh
from mesh.tokens import TokenIssuer
from tests.mesh.live.support import Camera, FakeServer, component, running, topology

OK, DENIED, UNAUTHENTICATED = (
    grpc.StatusCode.OK,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)


@pytest.fixture(scope="module")
def mesh(relay: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(topology({}, relay), tmp_path_factory.mktemp("state")) as mesh:
        yield mesh


def test_a_good_token_streams(mesh: Mesh, relay: FakeServer) -> None:
    frames = [bytes([index]) * 50_000 for index in range(20)]
    with Camera(mesh, mesh.issuer.token("cam-1")) as camera:
        assert camera.stream(frames) == (frames, OK)
    assert relay.metadata[-1]["sightline-token-subject"] == "cam-1"
    assert "authorization" not in relay.metadata[-1]  # the token stays at the gateway


def test_no_token_is_refused(mesh: Mesh) -> None:
    with Camera(mesh) as camera:
        assert camera.code() is DENIED


@pytest.mark.parametrize(
    "claims",
    [
        {"ttl_s": -3600.0},
        {"issuer": "https://elsewhere.example.com"},
        {"audience": "another-service"},
        {"key": "foreign"},
    ],
    ids=str,
)
def test_a_bad_token_is_refused(mesh: Mesh, tmp_path: Path, claims: dict[str, object]) -> None:
    """Expired; of another issuer; for another service; signed with a key that is not ours."""
    state = tmp_path if claims.pop("key", None) else mesh.config.state
    ttl_s = float(str(claims.pop("ttl_s", 3600.0)))
    issuer = TokenIssuer(state, **{key: str(value) for key, value in claims.items()})
    with Camera(mesh, issuer.token("cam-1", ttl_s=ttl_s)) as camera:
        # Envoy answers HTTP 401, a wrong audience 403.
        assert camera.code() in {UNAUTHENTICATED, DENIED}
    with Camera(mesh, "not.a.token") as camera:
        assert camera.code() is UNAUTHENTICATED


def test_the_subject_cannot_be_forged(mesh: Mesh, relay: FakeServer) -> None:
    """The relay compares a frame's camera_id with this header, so only the token may set it."""
    with Camera(mesh, mesh.issuer.token("cam-1")) as camera:
        assert camera.code([("sightline-token-subject", "cam-2")]) is OK
    assert relay.metadata[-1]["sightline-token-subject"] == "cam-1"


@pytest.mark.parametrize("canary", [True, False])
def test_only_a_canary_token_may_choose_the_version(mesh: Mesh, relay: FakeServer, canary: bool) -> None:
    with Camera(mesh, mesh.issuer.token("cam-1", canary=canary)) as camera:
        assert camera.code([("version", "v2")]) is OK
    assert relay.metadata[-1].get("version") == ("v2" if canary else None)


def test_without_the_policy_no_token_passes(relay: FakeServer, tmp_path: Path) -> None:
    """RequestAuthentication alone refuses bad tokens only."""
    open_door = component(tmp_path / "c", "AuthorizationPolicy", "cameras-only")
    with running(topology({}, relay), tmp_path, open_door) as mesh:
        with Camera(mesh) as camera:
            assert camera.code() is OK
        with Camera(mesh, "not.a.token") as camera:
            assert camera.code() is UNAUTHENTICATED


def test_without_both_anything_passes(relay: FakeServer, tmp_path: Path) -> None:
    policy = component(tmp_path / "a", "AuthorizationPolicy", "cameras-only")
    tokens = component(tmp_path / "b", "RequestAuthentication", "cameras")
    with (
        running(topology({}, relay), tmp_path, policy, tokens) as mesh,
        Camera(mesh, "not.a.token") as camera,
    ):
        assert camera.code([("version", "v2"), ("sightline-token-subject", "forged")]) is OK
        assert relay.metadata[-1]["sightline-token-subject"] == "forged"
        assert "version" not in relay.metadata[-1]
