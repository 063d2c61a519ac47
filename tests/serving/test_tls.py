"""TLS and mTLS by --ssl_config_file."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tensorflow_serving.apis import get_model_status_pb2

from serving import tls
from serving.errors import ServingError
from tests.serving.conftest import Server

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class Authority:
    """A certificate authority for a test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        self.pem = self._sign(self.name, self.key, authority=True)

    def _sign(self, subject: x509.Name, key: Any, authority: bool) -> str:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str) -> tuple[str, str]:
        """Key and certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return pem, self._sign(subject, key, authority=False)


def write(path: Path, **fields: str | bool) -> str:
    lines = []
    for name, value in fields.items():
        text = str(value).lower() if isinstance(value, bool) else '"' + value.replace("\n", "\\n") + '"'
        lines.append(f"{name}: {text}")
    path.write_text("\n".join(lines))
    return str(path)


def status(server: Server, credentials: Any) -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        call = channel.unary_unary(
            STATUS, type(request).SerializeToString, get_model_status_pb2.GetModelStatusResponse.FromString
        )
        return call(request, timeout=10).model_version_status[0].version


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(start: Callable[..., Server], model_dir: Path, tmp_path: Path, mutual: bool) -> None:
    ours, other = Authority(), Authority()
    key, certificate = ours.issue("server")
    fields: dict[str, str | bool] = {"server_key": key, "server_cert": certificate, "custom_ca": ours.pem}
    config = write(tmp_path / "ssl", **fields, client_verify=mutual)
    server = start(f"--model_base_path={model_dir / 'affine'}", f"--ssl_config_file={config}")
    roots = ours.pem.encode()

    def client(authority: Authority | None) -> Any:
        if authority is None:
            return grpc.ssl_channel_credentials(roots)
        key, certificate = authority.issue("client")
        return grpc.ssl_channel_credentials(roots, key.encode(), certificate.encode())

    assert status(server, client(ours)) == 1
    if not mutual:
        assert status(server, client(None)) == 1
    refused = [client(None), client(other)] if mutual else []
    for credentials in (*refused, grpc.ssl_channel_credentials(other.pem.encode())):
        with pytest.raises(grpc.RpcError) as raised:
            status(server, credentials)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError):
        server.call(STATUS, b"", get_model_status_pb2.GetModelStatusResponse, timeout=5)  # no TLS


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "server_key is not a PEM text with a PRIVATE KEY: got nothing"),
        (
            {"server_key": "/etc/key.pem"},
            "server_key is not a PEM text with a PRIVATE KEY: got 12 characters",
        ),
        ({"client_verify": True}, "client_verify needs custom_ca"),
        ({"custom_ca": "x"}, "custom_ca is not a PEM text with a CERTIFICATE"),
        ({"nope": "x"}, "Invalid protobuf file"),
    ],
)
def test_bad_files(tmp_path: Path, fields: dict[str, str | bool], text: str) -> None:
    good = dict(zip(("server_key", "server_cert"), Authority().issue("server"), strict=True))
    path = write(tmp_path / "ssl", **({**good, **fields} if fields else {}))
    with pytest.raises(ServingError, match=text):
        tls.server_credentials(path)


def test_a_key_of_another_certificate(start: Callable[..., Server], model_dir: Path, tmp_path: Path) -> None:
    authority = Authority()
    config = write(tmp_path / "ssl", server_key=authority.issue("a")[0], server_cert=authority.issue("b")[1])
    with pytest.raises(ServingError, match="check that server_key belongs to server_cert"):
        start(f"--model_base_path={model_dir / 'affine'}", f"--ssl_config_file={config}")
