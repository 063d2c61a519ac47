"""The project's own istio/: every combination builds and is clean, quickly."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from client.predict import GET_MODEL_STATUS, PREDICT
from client.relay.config import RelayConfig
from client.relay.service import SERVICE
from mesh.check import check
from mesh.check.nodes import duration_s
from mesh.kustomize import load
from mesh.resources import Resource

ISTIO = Path(__file__).parents[2] / "istio"
COMPONENTS = sorted(file.parent for file in (ISTIO / "components").rglob("kustomization.yaml"))
OVERLAYS = sorted(file.parent for file in (ISTIO / "overlays").rglob("kustomization.yaml"))
# One split, one fault, the rest: what one would combine. Faults come after splits, as README.md says.
SPLITS = [*(ISTIO / "components" / "weights").iterdir(), ISTIO / "components" / "mirror"]
FAULTS = list((ISTIO / "components" / "faults").iterdir())


def test_the_whole_folder_is_clean_within_two_seconds() -> None:
    started = time.monotonic()
    outcome = check([ISTIO])
    assert time.monotonic() - started < 2
    assert outcome.findings == ()
    assert outcome.configurations == 1 + len(COMPONENTS) + len(OVERLAYS)


def _objects(resources: list[Resource]) -> dict[str, Resource]:
    return {str(resource): resource for resource in resources}


def _split(resources: list[Resource], rule: str) -> dict[str, int]:
    routes = _objects(resources)["VirtualService object-detection/tf-serving"].spec["http"]
    (found,) = [r for r in routes if r["name"] == rule]
    return {entry["destination"]["subset"]: entry["weight"] for entry in found["route"]}


@pytest.mark.parametrize("split", SPLITS, ids=lambda p: p.name)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: p.name)
def test_faults_keep_the_split(split: Path, fault: Path) -> None:
    resources = load([ISTIO / "base"], [split, fault])
    weights = _split(resources, "weighted")
    v2 = int(split.name) if split.name.isdigit() else 0
    assert weights == {"v1": 100 - v2, "v2": v2}
    if "one-camera" in fault.name:
        assert _split(resources, "fault-one-camera") == weights


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
@pytest.mark.parametrize(
    "components",
    [
        (),
        *((c,) for c in COMPONENTS),
        *itertools.product([SPLITS[0]], FAULTS[:2], [ISTIO / "components" / "tls/mutual"]),
    ],
    ids=lambda cs: "+".join(str(c.relative_to(ISTIO / "components")) for c in cs) or "base",
)
def test_kubectl_builds_the_same(components: tuple[Path, ...], tmp_path: Path) -> None:
    scratch = tmp_path.resolve()
    names = [os.path.relpath(c, scratch) for c in components]
    text = yaml.safe_dump({"resources": [os.path.relpath(ISTIO / "base", scratch)], "components": names})
    (scratch / "kustomization.yaml").write_text(text)
    _same(scratch, load([ISTIO / "base"], components))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda p: p.name)
def test_kubectl_builds_the_overlay(overlay: Path) -> None:
    _same(overlay, load([overlay]))


def _same(folder: Path, ours: list[Resource]) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    theirs = {
        f"{d['kind']} {d['metadata']['namespace']}/{d['metadata']['name']}": d
        for d in yaml.safe_load_all(done.stdout)
    }
    assert {name: resource.body for name, resource in _objects(ours).items()} == theirs


def test_one_object_a_file_and_all_are_used() -> None:
    """Nothing lies beside the base that no kustomization names."""
    base = ISTIO / "base"
    named = set(yaml.safe_load((base / "kustomization.yaml").read_text())["resources"])
    files = {str(f.relative_to(base)) for f in base.rglob("*.yaml")} - {"kustomization.yaml"}
    assert named == files
    for name in files:
        assert len(list(yaml.safe_load_all((base / name).read_text()))) == 1, name


def test_numbers_have_their_reason_beside_them() -> None:
    """Each file says in a comment why it is there."""
    for file in [*ISTIO.rglob("*.yaml")]:
        assert "#" in file.read_text(), file


def test_the_stream_has_no_timeout_and_predict_s_is_longer_than_the_relay_s() -> None:
    objects = _objects(load([ISTIO / "base"]))
    for rule in objects["VirtualService object-detection/detect"].spec["http"]:
        assert "timeout" not in rule
        assert rule["retries"] == {"attempts": 0}
    for rule in objects["VirtualService object-detection/tf-serving"].spec["http"]:
        limit_s = duration_s(rule["timeout"])
        assert limit_s is not None
        assert limit_s > RelayConfig().predict_timeout_s


def test_ports_and_paths_are_those_of_the_programs() -> None:
    """The relay's ports, and every method that it calls, are what the policies let through."""
    objects = _objects(load([ISTIO / "base"]))

    def operation(name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = objects[f"AuthorizationPolicy object-detection/{name}"].spec["rules"][
            0
        ]["to"][0]["operation"]
        return found

    config = RelayConfig()
    assert operation("ingress-to-relay")["ports"] == [config.listen.rpartition(":")[2]]
    assert operation("prometheus-to-relay")["ports"] == [str(config.http_port)]
    serving = operation("relay-to-tf-serving")
    assert serving["ports"] == [config.target.rpartition(":")[2]]
    assert {PREDICT, GET_MODEL_STATUS} <= set(serving["paths"])
    assert operation("ingress-to-relay")["paths"] == [f"/{SERVICE}/Detect"]


def test_the_gateway_api_overlay_has_the_base_s_limits() -> None:
    base = _objects(load([ISTIO / "base"]))["DestinationRule object-detection/tf-serving"].spec
    overlay = _objects(load([ISTIO / "overlays" / "gateway-api"]))
    for version in ("v1", "v2"):
        spec = overlay[f"DestinationRule object-detection/tf-serving-{version}"].spec
        assert spec["trafficPolicy"] == base["trafficPolicy"]


def test_the_readme_maps_every_file_and_component() -> None:
    text = (ISTIO / "README.md").read_text()
    for file in (ISTIO / "base").rglob("*/*.yaml"):
        name = str(file.relative_to(ISTIO / "base"))
        assert name in text or re.sub(r"(prometheus-to-)[\w-]+", r"\1*", name) in text, name
    for component in COMPONENTS:
        name = str(component.relative_to(ISTIO / "components"))
        assert f"`{name}`" in text or (name.startswith("weights/") and f"`{component.name}`" in text), name
