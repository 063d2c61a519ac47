"""What the documents refer to is there: tests, targets, files, variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ("docs/deploy.md", "docs/security.md")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TEST = re.compile(r"`(?:(tests/\S+\.py)(?:::)?)?(test_\w+)?`")


@pytest.mark.parametrize("doc", DOCS)
def test_named_tests_exist(doc: str) -> None:
    """`tests/x.py::test_a`, then `test_b` of the same file."""
    file, count = "", 0
    for path, name in TEST.findall((ROOT / doc).read_text()):
        file = path or file
        if path or name:
            assert (ROOT / file).is_file(), f"{doc}: no {file}"
            assert not name or f"def {name}(" in (ROOT / file).read_text(), f"{doc}: no {name} in {file}"
            count += 1
    assert count >= (20 if doc.endswith("security.md") else 0)


@pytest.mark.parametrize("doc", DOCS)
def test_named_targets_and_files_exist(doc: str) -> None:
    text = (ROOT / doc).read_text()
    commands = re.findall(
        r"\bmake((?: [a-z][a-z0-9-]*)+)", "".join(re.findall(r"`make[^`]*`|^    make.*$", text, re.MULTILINE))
    )
    named = {target for words in commands for target in words.split()}
    assert named <= TARGETS
    assert named or doc != "docs/deploy.md"
    files = re.findall(r"`((?:k8s|istio|terraform|images|\.github)/[\w./-]+)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_variables_of_the_example_are_terraforms() -> None:
    tfvars = re.search(r"<<'TFVARS'\n(.*?)\nTFVARS", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    assert tfvars
    given = set(re.findall(r"^(\w+)\s+=", tfvars[1], re.MULTILINE))
    blocks = re.findall(
        r'^variable "(\w+)" \{(.*?)^\}', (ROOT / "terraform/variables.tf").read_text(), re.M | re.S
    )
    demanded = {name for name, body in blocks if not re.search(r"^  default", body, re.MULTILINE)}
    assert demanded <= given <= {name for name, _body in blocks}
