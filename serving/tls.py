"""TLS for gRPC: server credentials from an SSLConfig file, as TF Serving reads it."""

from __future__ import annotations

from typing import Any

import grpc

from serving.config import read_text_proto
from serving.config_protos import SSLConfig
from serving.errors import ServingError, invalid


def server_credentials(path: str) -> Any:
    """The credentials of an --ssl_config_file: PEM text, not paths; raises ServingError.

    With client_verify every client must show a certificate that custom_ca signed (mTLS).
    """
    config = read_text_proto(path, SSLConfig())
    for name, kind in (("server_key", "PRIVATE KEY"), ("server_cert", "CERTIFICATE")):
        _check_pem(path, name, getattr(config, name), kind)
    if config.custom_ca:
        _check_pem(path, "custom_ca", config.custom_ca, "CERTIFICATE")
    elif config.client_verify:
        raise invalid(f"{path}: client_verify needs custom_ca, the certificates that sign the clients'")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pem(path: str, name: str, text: str, kind: str) -> None:
    if f"{kind}-----" not in text:
        got = f"{len(text)} characters without it" if text else "nothing"
        raise invalid(f"{path}: {name} is not a PEM text with a {kind}: got {got}")


def bind_error(address: str) -> ServingError:
    """gRPC refused a key or certificate, and says no more than that it cannot bind."""
    return invalid(
        f"cannot listen on {address} with TLS: check that server_key belongs to server_cert in --ssl_config_file"
    )
