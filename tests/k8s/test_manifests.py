"""k8s/: every overlay and combination renders and passes every check, and every check finds its mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.check import check as mesh_check
from tests.k8s import agreement, lint, reach, validate, wiring
from tests.k8s.rendered import (
    COMBINATIONS,
    HERE,
    K8S,
    OVERLAYS,
    REGISTRY,
    SCANS,
    Objects,
    break_,
    of,
    one,
    render,
)

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")


def mesh(objects: Objects, folder: Path) -> Iterator[str]:
    """`sightline mesh check` on the whole, as one file."""
    file = folder / "rendered.yaml"
    file.write_text("\n---\n".join(json.dumps(r.body) for r in objects))  # JSON is YAML
    for finding in mesh_check([file]).findings:
        yield f"{finding.code.id}: {finding.what}"


@pytest.fixture
def checks(tmp_path: Path) -> dict[str, Callable[[Objects], Iterator[str]]]:
    """By name; those of `production` alone come from `production_only`."""
    whole = {check.__name__: check for check in (reach.exposures, reach.hunt, validate.schemas)}
    return (
        whole
        | lint.CHECKS
        | agreement.CHECKS
        | wiring.CHECKS
        | {"mesh": lambda objects: mesh(objects, tmp_path)}
    )


PRODUCTION_ONLY = {"minimum-three-replicas": lint.minimum_three_replicas}


@pytest.mark.parametrize("name", [*OVERLAYS, *COMBINATIONS])
def test_every_combination_passes_every_check(
    name: str, checks: dict[str, Callable[[Objects], Iterator[str]]]
) -> None:
    objects = render(name)
    found = {check: list(run(objects)) for check, run in checks.items()}
    if name == "production":
        found |= {check: list(run(objects)) for check, run in PRODUCTION_ONLY.items()}
    assert {check: findings for check, findings in found.items() if findings} == {}


CASES: list[dict[str, Any]] = yaml.safe_load((HERE / "broken.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['check']}: {case['says']}")
def test_every_mistake_is_found(
    case: dict[str, Any], checks: dict[str, Callable[[Objects], Iterator[str]]]
) -> None:
    check = (checks | PRODUCTION_ONLY)[case["check"]]
    objects = render(case.get("in", "production"))
    assert not list(check(objects))
    break_(objects, case)
    findings = list(check(objects))
    assert any(case["says"] in finding for finding in findings), findings


def test_every_check_has_its_mistake(checks: dict[str, Callable[[Objects], Iterator[str]]]) -> None:
    assert set(checks | PRODUCTION_ONLY) == {case["check"] for case in CASES}


@pytest.mark.parametrize("name", SCANS)
def test_scans_are_valid_objects_in_namespaces_of_their_own(name: str) -> None:
    objects = render(name)
    assert not list(validate.schemas(objects))
    assert {r.namespace for r in objects if r.kind != "Namespace"} == {name}


def test_the_benchmark_can_look_at_a_node_and_do_nothing_else() -> None:
    objects = render("kube-bench")
    (container,) = one(objects, "Job", "kube-bench").spec["template"]["spec"]["containers"]
    assert all(m["readOnly"] for m in container["volumeMounts"] if m["name"] != "tmp")
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}
    node = reach.Peer("kube-bench", "kube-bench")
    assert not any(reach.may(objects, node, target, 443) for target in (reach.INTERNET, reach.STRANGER))


def test_what_explains_a_cluster_is_told_no_names() -> None:
    ai = one(render("k8sgpt"), "K8sGPT", "sightline").spec["ai"]
    assert ai["anonymized"] is True
    assert ".svc.cluster.local" in ai["baseUrl"]


def test_components_are_all_combined_somewhere() -> None:
    used = {
        (folder / entry).resolve()
        for folder in (*OVERLAYS.values(), *COMBINATIONS.values())
        for entry in yaml.safe_load((folder / "kustomization.yaml").read_text()).get("components", [])
    }
    components = {file.parent.resolve() for file in (K8S / "components").rglob("kustomization.yaml")}
    alone = {
        (K8S / "components" / "loadtest").resolve()
    }  # beside the stack: tests/loadtest/test_manifests.py
    assert components - alone <= used


def test_one_object_a_file_and_all_files_are_used() -> None:
    """Nothing lies beside a kustomization that it does not name."""
    for kustomization in K8S.rglob("kustomization.yaml"):
        folder, spec = kustomization.parent, yaml.safe_load(kustomization.read_text())
        named = {e for e in spec.get("resources", []) if e.endswith(".yaml")}
        named |= {p["path"] for p in spec.get("patches", []) if "path" in p}
        files = {f.name for f in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert named == files, folder
        for name in files:
            assert len(list(yaml.safe_load_all((folder / name).read_text()))) == 1, folder / name


def test_keda_decides_as_the_autoscalers_do() -> None:
    """Only what decides is another: limits, behaviour and thresholds are the same."""
    scalers, objects = render("production"), render("model-volume-claim")
    base = {r.spec["scaleTargetRef"]["name"]: r.spec for r in of(scalers, "HorizontalPodAutoscaler")}
    keda = of(objects, "ScaledObject")
    assert {r.spec["scaleTargetRef"]["name"] for r in keda} == set(base)
    assert not of(objects, "HorizontalPodAutoscaler")
    for scaled in keda:
        spec = base[scaled.spec["scaleTargetRef"]["name"]]
        assert scaled.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == spec["behavior"]
        assert scaled.spec["maxReplicaCount"] == spec["maxReplicas"]
        (trigger,) = scaled.spec["triggers"]
        wanted = spec["metrics"][0]["pods"]["target"]["averageValue"]
        assert float(trigger["metadata"]["threshold"]) == _number(wanted)


def _number(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def test_the_gpu_s_server_is_monitored_as_the_image_s() -> None:
    config = one(render("gpu"), "ConfigMap", "gpu-config").body["data"]["monitoring.config"]
    image = (K8S.parent / "images/server/monitoring.config").read_text()
    assert config == "".join(line for line in image.splitlines(keepends=True) if not line.startswith("#"))


def test_no_component_takes_a_server_s_environment_away() -> None:
    for name in [*OVERLAYS, *COMBINATIONS]:
        for server in of(render(name), "Deployment"):
            if server.name.startswith("tf-serving"):
                (serving,) = server.spec["template"]["spec"]["containers"]
                assert "TF_ENABLE_ONEDNN_OPTS" in [variable["name"] for variable in serving["env"]], name


def test_flaggers_servers_have_a_budget_and_a_port_for_metrics() -> None:
    """They are copies of v1 with other versions, behind a Service whose ports Flagger writes."""
    objects = render("flagger")
    (budget,) = [r for r in of(objects, "PodDisruptionBudget") if r.name.startswith("tf-serving")]
    assert budget.spec["selector"] == {"matchLabels": {"app": "tf-serving"}}
    assert one(objects, "Canary", "tf-serving").spec["service"]["portDiscovery"] is True
    (container,) = one(objects, "Deployment", "tf-serving-v1").spec["template"]["spec"]["containers"]
    (endpoint,) = one(objects, "ServiceMonitor", "tf-serving").spec["endpoints"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]


def test_signatures_are_looked_for_in_the_format_that_is_published() -> None:
    (authority,) = one(render("production"), "ClusterImagePolicy", "sightline").spec["authorities"]
    assert authority["signatureFormat"] == "bundle"
    assert "bundle-format" not in (K8S.parent / "images/publish.sh").read_text()  # cosign 3's own


def test_policies_and_overlays_name_one_registry() -> None:
    for name in ("staging", "production"):
        objects = render(name)
        images = [
            c["image"] for w in of(objects, "Deployment") for c in w.spec["template"]["spec"]["containers"]
        ]
        assert all(image.startswith(f"{REGISTRY}/") for image in images)
        (glob,) = [i["glob"] for i in one(objects, "ClusterImagePolicy", "sightline").spec["images"]]
        assert glob == f"{REGISTRY}/*"


@pytest.mark.parametrize("name", ["staging", "production"])
def test_overlays_have_all_images_that_components_want(name: str) -> None:
    """A component that renames an image needs no other entry: the overlay's are the combinations' own."""
    folders = (OVERLAYS[name], HERE / "registry")
    texts = [(folder / "kustomization.yaml").read_text() for folder in folders]
    overlay, registry = [{entry["name"] for entry in yaml.safe_load(text)["images"]} for text in texts]
    assert overlay == registry


def test_yaml_is_clean() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "k8s", "istio", "tests/k8s"],
        cwd=K8S.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
