"""The kustomize that a laptop has: as kubectl builds it, or an error."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mesh.kustomize import Loaded, load
from mesh.resources import MeshError, position

ISTIO = Path(__file__).parents[2] / "istio"
COMPONENTS = sorted(file.parent for file in (ISTIO / "components").rglob("kustomization.yaml"))

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: a
spec:
  hosts: [x]
  http:
  - route:
    - destination: {host: x}
      weight: 80
"""


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl, to compare with")
@pytest.mark.parametrize("component", [None, *COMPONENTS], ids=lambda c: c and str(c.relative_to(ISTIO)))
def test_builds_what_kubectl_builds(tmp_path: Path, component: Path | None) -> None:
    copy = shutil.copytree(ISTIO, tmp_path / "istio")
    components = [str(Path("../istio") / component.relative_to(ISTIO))] if component else []
    make(
        tmp_path / "overlay",
        {"kustomization.yaml": yaml.safe_dump({"resources": ["../istio/base"], "components": components})},
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "overlay")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = [document for document in yaml.safe_load_all(done.stdout) if document]
    ours = load([copy / "base"], [copy / component.relative_to(ISTIO)] if component else [])

    def key(body: dict[str, object]) -> str:
        return json.dumps(body, sort_keys=True, default=str)

    assert sorted(map(key, theirs)) == sorted(key(resource.body) for resource in ours)


def test_a_patched_field_knows_the_patch_it_came_from(tmp_path: Path) -> None:
    patch = "- op: replace\n  path: /spec/http/0/route/0/weight\n  value: 7\n"
    make(
        tmp_path,
        {
            "vs.yaml": VIRTUAL_SERVICE,
            "patch.yaml": patch,
            "kustomization.yaml": "resources: [vs.yaml]\n"
            "patches: [{path: patch.yaml, target: {kind: VirtualService}}]\n",
        },
    )
    loaded = Loaded()
    (resource,) = load([tmp_path], loaded=loaded)
    route = resource.spec["http"][0]["route"][0]
    assert route["weight"] == 7
    assert str(position(route, "weight")) == f"{tmp_path}/patch.yaml:1"
    assert str(position(route, "destination")) == f"{tmp_path}/vs.yaml:9"
    assert {file.name for file in loaded.files} == {"vs.yaml", "patch.yaml", "kustomization.yaml"}


@pytest.mark.parametrize(
    ("patch", "spec"),
    [
        (
            "spec: {hosts: [y, z]}",
            {"hosts": ["y", "z"], "http": [{"route": [{"destination": {"host": "x"}, "weight": 80}]}]},
        ),
        ("spec: {http: null, gateways: [mesh]}", {"hosts": ["x"], "gateways": ["mesh"]}),
    ],
)
def test_merge_patch(tmp_path: Path, patch: str, spec: dict[str, object]) -> None:
    body = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\n{patch}\n"
    make(
        tmp_path,
        {
            "vs.yaml": VIRTUAL_SERVICE,
            "patch.yaml": body,
            "kustomization.yaml": "namespace: ns\nresources: [vs.yaml]\npatches: [{path: patch.yaml}]\n",
        },
    )
    (resource,) = load([tmp_path])
    assert resource.spec == spec
    assert resource.namespace == "ns"


@pytest.mark.parametrize(
    ("kustomization", "says"),
    [
        ("resources: [none.yaml]", "none.yaml is not there"),
        ("resources: [vs.yaml]\nimages: []", "images of a kustomization is not supported here"),
        ("resources: [vs.yaml, vs.yaml]", "is already defined at"),
        ("resources: [.]", "does it name itself?"),
        ("resources: vs.yaml", "must be a list"),
        ("resources: [vs.yaml]\ncomponents: [none]", "not a folder with a kustomization.yaml"),
        ("resources: [vs.yaml]\npatches: [{patch: '- {op: move, path: /spec}'}]", "needs a target"),
        (
            "resources: [vs.yaml]\npatches: [{target: {kind: Gateway}, patch: '[]'}]",
            "fits no object (kind Gateway)",
        ),
        (
            "resources: [vs.yaml]\npatches: [{target: {kind: VirtualService}, patch: '[{op: move, path: /spec}]'}]",
            "expected add, replace, remove, copy or test",
        ),
        (
            "resources: [vs.yaml]\n"
            "patches: [{target: {name: a}, patch: '[{op: test, path: /spec/hosts/0, value: y}]'}]",
            "is 'x', not 'y'",
        ),
        (
            "resources: [vs.yaml]\npatches: [{target: {name: a}, patch: '[{op: remove, path: /spec/hosts/4}]'}]",
            "'4' is no position in a list of 1",
        ),
        ("- a", "expected a kustomization"),
        ("", "expected a kustomization"),
    ],
)
def test_what_is_not_supported_is_an_error_with_its_place(
    tmp_path: Path, kustomization: str, says: str
) -> None:
    make(tmp_path, {"vs.yaml": VIRTUAL_SERVICE, "kustomization.yaml": kustomization})
    with pytest.raises(MeshError) as error:
        load([tmp_path])
    assert says in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("cut", ["vs.yaml", "patch.yaml"])
def test_a_file_that_was_cut_to_nothing_is_an_error(tmp_path: Path, cut: str) -> None:
    files = {
        "vs.yaml": VIRTUAL_SERVICE,
        "patch.yaml": "- {op: replace, path: /spec/http/0/route/0/weight, value: 7}\n",
        "kustomization.yaml": "resources: [vs.yaml]\n"
        "patches: [{path: patch.yaml, target: {kind: VirtualService}}]\n",
    }
    assert load([make(tmp_path / "whole", files)])
    with pytest.raises(MeshError, match=f"{cut}: the file is empty"):
        load([make(tmp_path / "cut", files | {cut: ""})])


def test_a_folder_without_kustomization_is_read_whole(tmp_path: Path) -> None:
    make(
        tmp_path, {"a/vs.yaml": VIRTUAL_SERVICE, "b/other.yml": VIRTUAL_SERVICE.replace("name: a", "name: b")}
    )
    assert [resource.name for resource in load([tmp_path])] == ["a", "b"]
    with pytest.raises(MeshError, match="no kustomization and no YAML file"):
        load([make(tmp_path / "empty", {"readme.txt": ""})])
