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
        check_pems(ca)  # what is wrong with a file is told at once
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
        check_pems(self.ca, self.cert, self.key)
        pems = [
            _read(path, option) for option, path in (("ca", self.ca), ("key", self.key), ("cert", self.cert))
        ]
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(*pems), options)

    def metadata(self, camera_id: str) -> tuple[tuple[str, str], ...]:
        """What goes with a stream of this camera. Raises what `token_of` does, and ValueError for what is no token."""
        if self.token_of is None:
            return ()
        token = self.token_of(camera_id)
        if not (token and token.isascii() and token.isprintable()):  # a file that is just being written, say
            raise ValueError(f"token of {camera_id}: expected one line of ASCII, got {len(token)} letters")
        return (("authorization", f"Bearer {token}"),)


def check_pems(ca: Path | None, cert: Path | None = None, key: Path | None = None) -> None:
    """Raise ValueError for a file that is no PEM, or a key that is not the certificate's. gRPC would say "Failed to
    create security handshaker" of them, as if the other end were not there, and try for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for option, path in (("ca", ca), ("cert", cert)):
        try:
            if path:
                context.load_verify_locations(path)
        except OSError as error:
            raise ValueError(
                f"--{option} {path}: expected a PEM file with a certificate{_why(error)}"
            ) from None
    try:
        if cert and key:
            context.load_cert_chain(cert, key, password="")  # nobody is to be asked for one
    except OSError as error:
        raise ValueError(
            f"--key {key}: expected a PEM file with the key of --cert {cert}, without a password{_why(error)}"
        ) from None


def _why(error: OSError) -> str:
    why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return f" ({why.lower().replace('_', ' ')})" if why else ""


def _read(path: Path | None, option: str) -> bytes | None:
    """A file's bytes; None for no file."""
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise ValueError(f"--{option} {path}: {error.strerror}") from error
