"""What is pushed, signed and attested is what the registry said that it took."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from images import report
from tests.images.dockerfile import ROOT
from tests.images.layouts import FILES, write_layout

REGISTRY = "registry.example.com"
DIGEST = f"sha256:{'ab' * 32}"
# Each tool writes down what it was asked; skopeo leaves a digest as the real one does.
TOOL = """#!/bin/bash
echo "${0##*/} $*" >>"$LOG"
while [ $# -gt 0 ]; do [ "$1" = --digestfile ] && printf %s "$DIGEST" >"$2"; shift; done
exit "${FAIL:-0}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with one built image, and tools that only take notes."""
    (tmp_path / "images").mkdir()
    shutil.copy(ROOT / "images/publish.sh", tmp_path / "images")
    write_layout(tmp_path / "build/images/relay")
    for platform in ("linux-amd64", "linux-arm64"):
        (tmp_path / f"build/images/relay.{platform}.cdx.json").write_text("{}")
    for name in ("skopeo", "cosign"):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(TOOL)
        tool.chmod(0o755)
    return tmp_path


def publish(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "LOG": str(folder / "log"), "DIGEST": DIGEST} | env
    return subprocess.run(
        [folder / "images/publish.sh", *arguments], env=env, capture_output=True, text=True, check=False
    )


def test_signed_by_digest(folder: Path) -> None:
    done = publish(folder, REGISTRY, "v1.0.0", "relay")
    name = f"{REGISTRY}/sightline/relay"
    assert (done.returncode, done.stdout) == (0, f"{name}@{DIGEST}\n")
    asked = (folder / "log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [
        ["skopeo", "copy"], ["cosign", "sign"], ["cosign", "attest"], ["cosign", "attest"],
    ]  # fmt: skip
    assert asked[0].endswith(f"oci:build/images/relay docker://{name}:v1.0.0")
    assert all(line.endswith(f"{name}@{DIGEST}") for line in asked[1:])  # never a tag
    assert (folder / "build/images/digests.txt").read_text() == done.stdout
    assert (
        folder / "build/images/checksums.txt"
    ).read_text() == f"{DIGEST.removeprefix('sha256:')}  {name}\n"


def test_by_a_key(folder: Path) -> None:
    assert publish(folder, REGISTRY, "v1.0.0", "relay", COSIGN_KEY="cosign.key").returncode == 0
    asked = [line for line in (folder / "log").read_text().splitlines() if line.startswith("cosign")]
    assert all("--key cosign.key" in line for line in asked)


def test_what_was_not_built(folder: Path) -> None:
    done = publish(folder, REGISTRY, "v1.0.0", "server-v1")
    assert done.returncode == 1
    assert done.stderr == "publish: build/images/server-v1 is not there: make images IMAGES=server-v1\n"


def test_a_mirrored_image_is_attested_with_what_the_report_wrote(folder: Path) -> None:
    """It has what our own must not have, and the report says so; docs/deploy.md."""
    layout = write_layout(folder / "build/images/aws-cli", [FILES | {"bin/sh": (b"", 0o755)}], {})
    assert report.main([layout]) == 1
    assert publish(folder, REGISTRY, "2.0", "aws-cli").returncode == 0
    attested = [line for line in (folder / "log").read_text().splitlines() if " attest " in line]
    assert len(attested) == 1
    assert "--predicate build/images/aws-cli.linux-amd64.cdx.json" in attested[0]


def test_a_failed_push_signs_nothing(folder: Path) -> None:
    assert publish(folder, REGISTRY, "v1.0.0", "relay", FAIL="7").returncode == 7
    assert "cosign" not in (folder / "log").read_text()
    assert (folder / "build/images/digests.txt").read_text() == ""


def test_no_registry(folder: Path) -> None:
    done = publish(folder, "", "v1.0.0", "relay")
    assert done.returncode == 1
    assert done.stderr == "publish: expected REGISTRY TAG IMAGE..., as in make publish REGISTRY=... TAG=...\n"
