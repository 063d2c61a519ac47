"""A signed version: whatever is done to it afterwards is found, and other programs can check it too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from model.export import ExportConfig, export
from model.signing import LIST, SIGNATURE, SigningError, check, read_private_key, read_public_key, sign
from sightline.cli import app

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()


def private_pem(
    path: Path, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey = KEY, passphrase: bytes = b""
) -> Path:
    how = pem.BestAvailableEncryption(passphrase) if passphrase else pem.NoEncryption()
    path.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, how))
    return path


def public_pem(path: Path, key: Ed25519PrivateKey = KEY) -> Path:
    path.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version folder's files, signed; what is in them does not matter here."""
    folder = tmp_path / "yolov8" / "1"
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/sightline.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    sign(folder, KEY)
    return folder


def test_what_was_signed_is_all_there(version: Path) -> None:
    assert check(version, PUBLIC) == 3
    sign(version, KEY)  # again: neither list nor signature is listed
    assert check(version, PUBLIC) == 3


def _swap(folder: Path) -> None:
    """Another signed version's file, with its own list beside it."""
    (folder / LIST).write_text((folder / LIST).read_text().replace("a", "b"))


def _link(folder: Path) -> None:
    shutil.move(folder / "saved_model.pb", folder.parent / "elsewhere")
    (folder / "saved_model.pb").symlink_to(folder.parent / "elsewhere")


MISDEEDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed file": (lambda f: (f / "saved_model.pb").write_text("other"), "saved_model.pb was changed"),
    "an emptied file": (lambda f: (f / "saved_model.pb").write_text(""), "saved_model.pb was changed"),
    "a file more": (lambda f: (f / "assets.extra/new").write_text(""), "assets.extra/new was added"),
    "a file less": (
        lambda f: (f / "variables/variables.index").unlink(),
        "variables.index was signed and is not",
    ),
    "a link": (_link, "saved_model.pb is a link"),
    "a changed list": (_swap, "was changed"),
    "no list": (lambda f: (f / LIST).unlink(), "is not signed"),
    "no signature": (lambda f: (f / SIGNATURE).unlink(), "is not signed"),
    "an empty signature": (lambda f: (f / SIGNATURE).write_bytes(b""), "is not this key's"),
    "a long signature": (lambda f: (f / SIGNATURE).write_bytes(bytes(65)), "at most 64 bytes"),
    "a huge list": (lambda f: (f / LIST).write_bytes(bytes(2_000_000)), "at most 1000000 bytes"),
    "another key's": (lambda f: sign(f, Ed25519PrivateKey.generate()), "is not this key's"),
}


@pytest.mark.parametrize("name", MISDEEDS)
def test_what_was_done_afterwards_is_found(version: Path, name: str) -> None:
    do, says = MISDEEDS[name]
    do(version)
    with pytest.raises(SigningError, match=says):
        check(version, PUBLIC)


def test_wrong_keys_are_said_to_be_wrong(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    wrong = [
        tmp_path / "text",
        private_pem(tmp_path / "ec", ec.generate_private_key(ec.SECP256R1())),
        private_pem(tmp_path / "locked", passphrase=b"secret"),
        public_pem(tmp_path / "public"),
    ]
    for path in wrong:
        with pytest.raises(SigningError, match="expected an Ed25519 private key without a passphrase"):
            read_private_key(path)
    for path in (tmp_path / "text", private_pem(tmp_path / "private")):
        with pytest.raises(SigningError, match="expected an Ed25519 public key"):
            read_public_key(path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")
def test_openssl_and_sha256sum_agree(version: Path, tmp_path: Path) -> None:
    key = str(public_pem(tmp_path / "model.pub"))
    commands = [
        ["sha256sum", "--check", "--strict", "--quiet", LIST],
        [
            "openssl",
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            key,
            "-rawin",
            "-in",
            LIST,
            "-sigfile",
            SIGNATURE,
        ],
    ]
    for command in commands:
        subprocess.run(command, cwd=version, check=True, capture_output=True)
    (version / "saved_model.pb").write_text("other")
    assert subprocess.run(commands[0], cwd=version, capture_output=True, check=False).returncode == 1


def test_an_export_is_signed_before_it_appears_and_verify_checks_it(tmp_path: Path) -> None:
    private, public = private_pem(tmp_path / "model.key"), public_pem(tmp_path / "model.pub")
    base = tmp_path / "yolov8"
    folder = export(ExportConfig("demo", base, imgsz=(32, 32), precision="fp32", sign=private))
    done = CliRunner().invoke(app, ["verify", str(base), "--signed-by", str(public)])
    assert done.exit_code == 0
    assert done.output == f"{folder}: 3 files as they were signed\n"
    (folder / "saved_model.pb").write_bytes(b"")
    done = CliRunner().invoke(app, ["verify", str(base), "--signed-by", str(public)])
    assert isinstance(done.exception, SigningError)
    done = CliRunner().invoke(app, ["verify", str(base)])
    assert "expected --weights to compare with, or --signed-by" in str(done.exception)


def test_a_wrong_key_costs_no_export(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="expected an Ed25519 private key"):
        export(ExportConfig("no such weights", tmp_path / "m", sign=public_pem(tmp_path / "model.pub")))
    assert not (tmp_path / "m").exists()
