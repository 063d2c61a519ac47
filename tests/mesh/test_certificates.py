from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import jwt
import pytest
from cryptography import x509

from mesh.certificates import LEAF_LIFETIME, Authority
from mesh.resources import MeshError
from mesh.tokens import AUDIENCE, ISSUER, TokenIssuer


def test_a_leaf_is_signed_short_lived_and_carries_its_identity() -> None:
    authority = Authority.create("root")
    pair = authority.issue(uris=["spiffe://cluster.local/ns/a/sa/b"], names=["localhost", "127.0.0.1"])
    leaf = x509.load_pem_x509_certificate(pair.certificate.encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/a/sa/b"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert leaf.not_valid_after_utc - dt.datetime.now(dt.UTC) <= LEAF_LIFETIME
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_stored_authority_is_kept_and_its_key_is_the_owners(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first = Authority.stored("gateway", folder)
    assert Authority.stored("gateway", folder).certificate == first.certificate
    assert stat.S_IMODE((folder / "ca-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "ca.pem").write_text("nonsense")
    with pytest.raises(MeshError, match="delete it"):
        Authority.stored("gateway", folder)


def test_a_token_is_what_the_policies_ask_for(tmp_path: Path) -> None:
    issuer = TokenIssuer(tmp_path)
    key = jwt.PyJWKSet.from_json(TokenIssuer(tmp_path).jwks).keys[0]  # the key is kept
    claims = jwt.decode(issuer.token("cam-1"), key, ["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["sub"] == "cam-1"
    assert "canary" not in claims
    assert claims["exp"] - claims["iat"] == 3600
    canary = jwt.decode(issuer.token("cam-1", canary=True), key, ["ES256"], audience=AUDIENCE)
    assert canary["canary"] == "true"
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(issuer.token("cam-1", ttl_s=-10), key, ["ES256"], audience=AUDIENCE)
    assert '"d"' not in issuer.jwks  # only the public half
    assert stat.S_IMODE((tmp_path / "token-key.pem").stat().st_mode) == 0o600


def test_a_token_needs_a_camera_and_a_usable_key(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="--camera"):
        TokenIssuer(tmp_path).token("")
    (tmp_path / "token-key.pem").write_text("nonsense")
    with pytest.raises(MeshError, match="not a private key"):
        TokenIssuer(tmp_path)
