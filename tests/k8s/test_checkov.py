"""Checkov over the rendered manifests; `make manifests` installs it into an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.rendered import ROOT, Objects, break_, render

CHECKOV = shutil.which("checkov", path=f"{ROOT / '.venv-checkov' / 'bin'}{os.pathsep}{os.environ['PATH']}")
pytestmark = [
    pytest.mark.skipif(CHECKOV is None, reason="Checkov is not installed: make .venv-checkov/stamp"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH"),
]
# What it finds and we keep, by check; the reason beside each.
ALLOWED: dict[str, set[str]] = {
    "local": {
        "CKV_K8S_15",  # pulled always: `kind load` brings the images, and no registry has them
        "CKV_K8S_43",  # by digest: an image that was never pushed has none
    },
    "production": set(),
    "everything": set(),
}


def run_checkov(*what: str) -> dict[str, Any]:
    """Its report. It never asks the network (`--skip-download`), and must have understood what it read."""
    assert CHECKOV is not None
    done = subprocess.run(
        [CHECKOV, *what, "--output", "json", "--skip-download", "--quiet"],
        capture_output=True, text=True, check=False, env=os.environ | {"BC_SKIP_MAPPING": "TRUE"},
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    return report


def failed(objects: Objects, folder: Path) -> set[str]:
    """The ids of the checks that fail."""
    file = folder / "rendered.yaml"
    file.write_text("\n---\n".join(json.dumps(r.body, indent=1) for r in objects))  # JSON is YAML
    report = run_checkov("--file", str(file), "--framework", "kubernetes")
    return {check["check_id"] for check in report["results"]["failed_checks"]}


@pytest.mark.parametrize("name", ALLOWED)
def test_checkov_finds_nothing_else(name: str, tmp_path: Path) -> None:
    assert failed(render(name), tmp_path) == ALLOWED[name]


def test_checkov_finds_a_mistake(tmp_path: Path) -> None:
    objects = render("production")
    patch = [
        {"op": "add", "path": "/spec/template/spec/containers/0/securityContext/privileged", "value": True}
    ]
    break_(objects, {"target": "Deployment tf-serving-v1", "patch": patch})
    assert "CKV_K8S_16" in failed(objects, tmp_path)
