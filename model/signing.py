"""Signing a model version with a local Ed25519 key, so that a changed file is found before it is loaded.

`assets.extra/sightline.sha256` lists every other file of the version folder in sha256sum's format, and
`sightline.sha256.sig` beside it is the raw signature of that list (RFC 8032), so no program of ours is needed:

    sha256sum --check assets.extra/sightline.sha256        # in the version folder
    openssl pkeyutl -verify -pubin -inkey model.pub -rawin -in assets.extra/sightline.sha256 \\
      -sigfile assets.extra/sightline.sha256.sig

The signature says who made these files, not which version number or name they are served under.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

LIST = "assets.extra/sightline.sha256"
SIGNATURE = f"{LIST}.sig"
MAX_LIST_BYTES = 1_000_000  # some 8,000 files; an export has three


class SigningError(ValueError):
    """A key that is none, or a version that is not what its signer made."""


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """An unencrypted PEM, as `openssl genpkey -algorithm ed25519` writes it. Raises SigningError."""
    try:
        key = load_pem_private_key(_read(path, MAX_LIST_BYTES), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(
            f"{path}: expected an Ed25519 private key without a passphrase: openssl genpkey -algorithm ed25519"
        )
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A PEM, as `openssl pkey -pubout` writes it. Raises SigningError."""
    try:
        key = load_pem_public_key(_read(path, MAX_LIST_BYTES))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningError(f"{path}: expected an Ed25519 public key: openssl pkey -in KEY -pubout")
    return key


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """List and sign the files of a version folder; an older signature is replaced."""
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(_digests(folder).items())).encode()
    (folder / LIST).parent.mkdir(exist_ok=True)
    (folder / LIST).write_bytes(listed)
    (folder / SIGNATURE).write_bytes(key.sign(listed))


def check(folder: Path, key: Ed25519PublicKey) -> int:
    """How many files the signature covers. Raises SigningError naming the first that is not as it was signed."""
    for name in (LIST, SIGNATURE):
        if not (folder / name).is_file():
            raise SigningError(f"{folder} is not signed: {name} is not there; sightline export --sign")
    listed = _read(folder / LIST, MAX_LIST_BYTES)
    try:
        key.verify(_read(folder / SIGNATURE, 64), listed)
    except InvalidSignature:
        raise SigningError(f"{folder}: the signature is not this key's, or {LIST} was changed") from None
    lines = (line.partition("  ") for line in listed.decode().split("\n") if line)
    signed = {name: digest for digest, _, name in lines}
    found = _digests(folder)
    for name in sorted(signed.keys() | found.keys()):
        if name not in found:
            raise SigningError(f"{folder}: {name} was signed and is not there")
        if name not in signed:
            raise SigningError(f"{folder}: {name} was added after signing")
        if signed[name] != found[name]:
            raise SigningError(f"{folder}: {name} was changed after signing")
    return len(signed)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 in hex of every file but the list and its signature, by its path below the folder."""
    found = {}
    for base, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            path = Path(base, entry)
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise SigningError(f"{folder}: {name} is a link or no plain file, which can't be signed")
            if "\n" in name or "\\" in name:
                raise SigningError(f"{folder}: {name!r}: sha256sum's format has no such names")
            if path.is_file() and name not in (LIST, SIGNATURE):
                with path.open("rb") as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _read(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises SigningError for one that is longer."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise SigningError(f"{path}: expected at most {limit} bytes")
    return data
