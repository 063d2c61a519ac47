"""docs/deploy.md on images: what the release publishes is what pods run, whatever components an overlay has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.images.test_build import images
from tests.k8s.rendered import ROOT

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightline"
DEPLOY = (ROOT / "docs/deploy.md").read_text()
SECTION = DEPLOY.partition("## 3. The images")[2].partition("\n## ")[0]
MONITORING = "  - ../../components/monitoring\n"


def published() -> list[str]:
    """digests.txt of a release, each image with a digest of its own."""
    return [f"{REGISTRY}/{name}@sha256:{i:064x}" for i, name in enumerate(images(), 1)]


def write_digests(folder: Path) -> None:
    """The deployment's step that writes them, as the document has it."""
    (folder / "digests.txt").write_text("\n".join(published()))
    (command,) = re.findall(r"^    (python -m images\.overlay digests(?:\\\n|.)*)$", SECTION, re.MULTILINE)
    command = command.replace("python", sys.executable, 1)
    subprocess.run(["bash", "-euc", command], cwd=folder, capture_output=True, check=True)


def run_by(components: Sequence[str], folder: Path) -> set[str]:
    """The images in the overlay `production` with these components, after the step."""
    for name in ("k8s", "istio", "images"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    overlay = folder / "k8s/overlays/production/kustomization.yaml"
    more = "".join(f"  - ../../components/{name}\n" for name in components)
    overlay.write_text(overlay.read_text().replace(MONITORING, MONITORING + more))
    write_digests(folder)
    done = subprocess.run(
        ["kubectl", "kustomize", str(overlay.parent)], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^ *(?:- )?(?:image|reference): (\S+)$", done.stdout, re.MULTILINE))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
@pytest.mark.parametrize(
    ("components", "names"),
    [
        ((), {"relay", "server-v1", "server-v2"}),
        (("model/image-volume",), {"relay", "server-bare", "model-v1", "model-v2"}),
        (("model/volume-claim",), {"relay", "server-bare"}),
        (("rollout-gates", "rollouts-argo"), {"relay-rollout", "server-v1"}),
        (("rollout-gates", "flagger"), {"relay-rollout", "server-v1"}),
        (
            ("model/image-volume", "rollout-gates", "rollouts-argo"),
            {"relay-rollout", "server-bare", "model-v1"},
        ),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_pods_run_what_was_published(tmp_path: Path, components: tuple[str, ...], names: set[str]) -> None:
    wanted = {line for line in published() if line.rpartition("/")[2].partition("@")[0] in names}
    assert len(wanted) == len(names)
    assert run_by(components, tmp_path) == wanted


def test_the_table_has_all_that_is_built() -> None:
    rows = re.findall(
        r"^\| ((?:`[\w-]+`(?:, )?)+) \|", SECTION.partition("`make images` prints")[0], re.MULTILINE
    )
    assert {name for row in rows for name in re.findall(r"[\w-]+", row)} == set(images())
