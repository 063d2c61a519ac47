"""A certificate authority of this machine's own: workload identities (SPIFFE) and the gateway's certificate.

Keys are EC P-256. What is written is readable by its owner only.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.resources import MeshError

LEAF_LIFETIME = dt.timedelta(hours=24)  # as istiod's; `mesh run` renews at half of it
ROOT_LIFETIME = dt.timedelta(days=365)
CLOCK_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with os.fdopen(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    part.replace(path)


class Authority:
    """A root that signs certificates."""

    def __init__(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.name, self._key, self._certificate = name, key, certificate

    @classmethod
    def create(cls, name: str) -> Authority:
        """A new root, in memory."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), ROOT_LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return cls(name, key, builder.add_extension(own_id, critical=False).sign(key, hashes.SHA256()))

    @classmethod
    def stored(cls, name: str, folder: Path) -> Authority:
        """The root kept in `folder` (ca.pem, ca-key.pem), made on first use, or when it is about to expire."""
        certificate_file, key_file = folder / "ca.pem", folder / "ca-key.pem"
        if certificate_file.is_file() and key_file.is_file():
            try:
                certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
                key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
            except (OSError, ValueError) as error:
                raise MeshError(f"{folder}: not a certificate authority ({error}); delete it") from None
            if isinstance(key, ec.EllipticCurvePrivateKey) and _days_left(certificate) > 30:
                return cls(name, key, certificate)
        made = cls.create(name)
        write_private(key_file, _pem_key(made._key))
        write_private(certificate_file, made.certificate)
        return made

    @property
    def certificate(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(
        self, *, uris: Sequence[str] = (), names: Sequence[str] = (), lifetime: dt.timedelta = LEAF_LIFETIME
    ) -> KeyPair:
        """A certificate for both sides of TLS. `names` are DNS names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        alternatives += [_general_name(name) for name in names]
        builder = _builder(x509.Name([]), self._certificate.subject, key.public_key(), lifetime)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(both, critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        return KeyPair(signed.public_bytes(serialization.Encoding.PEM).decode(), _pem_key(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + lifetime)


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _days_left(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).total_seconds() / 86400


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
