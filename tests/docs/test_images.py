"""docs/deploy.md on images: what the release publishes is what pods run, whatever components an overlay has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from mesh.resources import load_file
from tests.images.dockerfile import images
from tests.k8s import validate
from tests.k8s.rendered import K8S, ROOT

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightline"
DEPLOY = (ROOT / "docs/deploy.md").read_text()
SECTION = DEPLOY.partition("## 3. The images")[2].partition("\n## ")[0]
HEADING = "Images that the release does not make"
OURS, _, OTHERS = SECTION.partition(f"\n### {HEADING}\n")
VARIABLES = (ROOT / "terraform/variables.tf").read_text()
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


def table(text: str) -> dict[str, str]:
    """Images of a table's first column, to the second."""
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| (.*?) \|", text, re.MULTILINE)
    return {name: second for first, second in rows for name in re.findall(r"[\w-]+", first)}


def test_the_table_has_all_that_is_built() -> None:
    assert set(table(OURS)) == set(images())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
@pytest.mark.parametrize(
    "components",
    [("model/init-container",), ("model/image-volume", "gpu"), ("confidential/sgx",)],
    ids=lambda components: components[-1],
)
def test_images_that_no_release_has_are_said(tmp_path: Path, components: tuple[str, ...]) -> None:
    left = {image for image in run_by(components, tmp_path) if image not in published()}
    assert all(image.endswith("@sha256:" + "0" * 64) for image in left)
    said = {name for name, component in table(OTHERS).items() if component.strip("`") == components[-1]}
    assert {image.rpartition("/")[2].partition("@")[0] for image in left} == said != set()
    header = (
        (K8S / "components" / components[-1] / "kustomization.yaml").read_text().partition("apiVersion")[0]
    )
    assert f'docs/deploy.md says ("{HEADING}")' in " ".join(header.split())


def test_repositories_are_made_for_the_mirrored_ones() -> None:
    found = re.search(r'variable "other_images".*?default\s+= \[(.+?)\]', VARIABLES, re.S)
    assert found
    sgx = {name for name, component in table(OTHERS).items() if component == "`confidential/sgx`"}
    assert set(re.findall(r'"([^"]+)"', found[1])) == table(OTHERS).keys() - sgx


def test_who_mirrors_is_an_authority() -> None:
    """The document's block fits where it says that it belongs."""
    (block,) = re.findall(r"```yaml\n(.*?)```", OTHERS, re.DOTALL)
    (policy,) = load_file(K8S / "components/sigstore/cluster-image-policy.yaml")
    before = list(policy.spec["authorities"])
    policy.spec["authorities"] = [*before, *yaml.safe_load(block)]
    assert len(policy.spec["authorities"]) == len(before) + 1
    assert list(validate.schemas([policy])) == []
