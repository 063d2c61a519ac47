"""docs/deploy.md's commands put a deployment's own names everywhere, and what comes out still fits together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def commands() -> str:
    """The block below "Names", up to what checks and commits."""
    text = (ROOT / "docs/deploy.md").read_text().partition("## 2. Names")[2]
    block = text.split("```")[1]
    return (
        block.partition("make manifests")[0]
        .replace("OWNER/NAME", "acme/eyes")
        .replace("YOUR.DOMAIN", "acme.org")
    )


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_own_names_are_everywhere(tmp_path: Path) -> None:
    for folder in ("k8s", "istio", "mesh", "tests/k8s", "tests/mesh"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    terraform = tmp_path / "bin/terraform"
    terraform.parent.mkdir()
    terraform.write_text(f"#!/bin/sh\necho {REGISTRY}\n")
    terraform.chmod(0o755)
    env = os.environ | {"PATH": f"{terraform.parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", commands()], cwd=tmp_path, env=env, check=True)
    done = subprocess.run(
        ["kubectl", "kustomize", "k8s/overlays/production"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    # What is left of `example` is the prefix of our own annotations, which are nobody's name.
    left = re.findall(r"[\w./:-]*example[\w./-]*", done.stdout)
    assert {word.partition("/")[0] for word in left} == {"sightline.example.com"}
    assert f"image: {REGISTRY}/sightline/relay@sha256:" in done.stdout
    assert f"glob: {REGISTRY}/sightline/*" in done.stdout
    assert f"^{REGISTRY.replace('.', '[.]')}/sightline/" in done.stdout
    assert "^https://github[.]com/acme/eyes/" in done.stdout
    assert "object-detection/detect.acme.org" in done.stdout
    assert 'ISSUER = "https://cameras.acme.org"' in (tmp_path / "mesh/tokens.py").read_text()
