"""Cameras' tokens (JWT, ES256) for the local mesh, and the public key that its gateway checks them with."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mesh.certificates import write_private
from mesh.resources import MeshError

ISSUER = "https://cameras.example.com"  # as istio/base/ingress/request-authentication-cameras.yaml names it
AUDIENCE = "sightline"
KEY_ID = "local"
DEFAULT_TTL_S = 3600
MAX_TTL_S = 10 * 365 * 86400


def default_state() -> Path:
    """Where the local mesh keeps its keys: $XDG_STATE_HOME/sightline/mesh, by default below ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "sightline" / "mesh"


class TokenIssuer:
    """Signs tokens with the key kept in a state folder, made on first use."""

    def __init__(self, state: Path | None = None, issuer: str = ISSUER, audience: str = AUDIENCE) -> None:
        self.issuer, self.audience = issuer, audience
        self._key = _load_key((state or default_state()) / "token-key.pem")

    @property
    def jwks(self) -> str:
        """The public key as a JSON Web Key Set."""
        public: dict[str, Any] = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "ES256"}]})

    def token(self, camera: str, *, canary: bool = False, ttl_s: float = DEFAULT_TTL_S) -> str:
        """A token whose subject is the camera's id; with `canary` it may choose the model's version.

        The claim is the text "true": Istio's claim-based routing compares text. A `ttl_s` below 0 makes an
        expired token (Envoy allows 60 s of clock skew).
        """
        if not camera:
            raise MeshError("a token needs a camera: --camera CAM")
        if not abs(ttl_s) <= MAX_TTL_S:
            raise MeshError(f"--ttl: expected seconds, at most {MAX_TTL_S} (ten years), got {ttl_s:g}")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": camera,
            "iat": now,
            "exp": now + int(ttl_s),
        }
        if canary:
            claims["canary"] = "true"
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": KEY_ID})


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, pem.decode())
        return made
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise MeshError(f"{path}: not a private key ({error}); delete it to get a new one") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MeshError(f"{path}: expected an EC key; delete it to get a new one")
    return key
