"""How a camera proves who it is and checks whom it talks to."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Security:
    """TLS to the gateway, and the camera's token.

    `ca`: PEM file of the authority that signed the gateway's certificate; None: no TLS. `token_of`: the JSON Web
    Token of a camera, by its id; None: no token. `cert` and `key`: PEM files of a client certificate, for a gateway
    that asks for one (istio/components/tls/mutual). A token and a certificate go over TLS only.

    Raises ValueError for a token or a certificate without TLS, and for half a certificate.
    """

    ca: Path | None = None
    token_of: Callable[[str], str] | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def of_files(cls, ca: Path | None, token: Path | None) -> Security:
        """The same from files; the token is read anew for each stream, so that it can be renewed.

        Raises ValueError for a file that cannot be read, and for a `ca` without a certificate.
        """
        _read_authority(ca)  # what is wrong with a file is told at once
        _read(token, "token")
        if token is None:
            return cls(ca)
        return cls(ca, lambda _camera_id: token.read_text().strip())

    def __post_init__(self) -> None:
        if self.token_of is not None and self.ca is None:
            raise ValueError("a token goes over TLS only: name the gateway's authority with --ca")
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate is two files: --cert and --key")
        if self.cert is not None and self.ca is None:
            raise ValueError(
                "a client certificate goes over TLS only: name the gateway's authority with --ca"
            )

    def channel(self, target: str, options: list[tuple[str, int]]) -> grpc.Channel:
        """A channel to `target` (host:port). Raises ValueError for a file that cannot be read, or is no PEM."""
        if self.ca is None:
            return grpc.insecure_channel(target, options)
        authority = _read_authority(self.ca)
        key, chain = _read_pair(self.key, self.cert)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(authority, key, chain), options)

    def metadata(self, camera_id: str) -> tuple[tuple[str, str], ...]:
        """What goes with a stream of this camera. Raises what `token_of` does, and ValueError for what is no token."""
        if self.token_of is None:
            return ()
        token = self.token_of(camera_id)
        if not (token and token.isascii() and token.isprintable()):  # a file that is just being written, say
            raise ValueError(f"token of {camera_id}: expected one line of ASCII, got {len(token)} letters")
        return (("authorization", f"Bearer {token}"),)


def _read_authority(path: Path | None) -> bytes | None:
    """The bytes of an authority's PEM file, in which there is a certificate; gRPC would say "Failed to create security
    handshaker", as if the other end were not there."""
    pem = _read(path, "ca")
    if path is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except ssl.SSLError:
            raise ValueError(f"--ca {path}: expected a PEM file with a certificate") from None
    return pem


def _read_pair(key: Path | None, cert: Path | None) -> tuple[bytes | None, bytes | None]:
    """The bytes of a client's key and certificate, which fit each other."""
    pems = _read(key, "key"), _read(cert, "cert")
    if key is not None and cert is not None:
        try:  # the password: nobody is to be asked for one
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
        except ssl.SSLError:
            raise ValueError(
                f"--cert {cert}, --key {key}: expected PEM files of a certificate and its key without a password"
            ) from None
    return pems


def _read(path: Path | None, option: str) -> bytes | None:
    """A file's bytes; None for no file."""
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise ValueError(f"--{option} {path}: {error.strerror}") from error
