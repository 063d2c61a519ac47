"""k8s/components/loadtest: it renders, fits the schemas, is as restricted as the stack, and agrees with itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtest.profile import load_profile, ours
from mesh.check.kubectl import build_with_kubectl
from tests.k8s import lint, reach, validate
from tests.k8s.rendered import K8S, Objects, of, one

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

# What a batch of load has no use for: it answers nobody who would have to wait for it.
NOT_MEANT = {"no-startup-probe", "no-readiness-probe", "no-liveness-probe", "latest-tag"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    folder = tmp_path_factory.mktemp("k8s")
    (folder / "component").symlink_to(K8S / "components" / "loadtest")
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\ncomponents: [component]\n"
    )
    return list(build_with_kubectl(folder))


def arguments(objects: Objects, kind: str, name: str) -> list[str]:
    (container,) = one(objects, kind, name).spec["template"]["spec"]["containers"]
    return [str(argument) for argument in container["args"]]


def test_it_fits_the_schemas_and_is_restricted(objects: Objects) -> None:
    assert not list(validate.schemas(objects))
    found = {name: list(check(objects)) for name, check in lint.CHECKS.items() if name not in NOT_MEANT}
    assert {name: findings for name, findings in found.items() if findings} == {}
    assert {r.namespace for r in objects if r.kind != "Namespace"} == {"loadtest"}


def test_master_and_workers_run_the_same(objects: Objects) -> None:
    master = arguments(objects, "Job", "loadtest-master")
    worker = arguments(objects, "Deployment", "loadtest-worker")
    ours_of = {name: args[: args.index("--")] for name, args in (("master", master), ("worker", worker))}
    assert ours_of["master"] == ours_of["worker"]
    assert ours_of["master"][:2] == ["load", "run"]
    assert ours_of["master"][2] in ours()
    assert "--master" in master
    assert "--worker" in worker
    least = one(objects, "HorizontalPodAutoscaler", "loadtest-worker").spec["minReplicas"]
    assert f"--expect-workers={least}" in master
    service = one(objects, "Service", "loadtest-master")
    assert f"--master-host={service.name}.{service.namespace}.svc.cluster.local" in worker
    deadline_s = one(objects, "Job", "loadtest-master").spec["activeDeadlineSeconds"]
    assert deadline_s > max(load_profile(name).duration_s for name in ours())


def test_workers_reach_the_master_and_the_gateway_and_nobody_else(objects: Objects) -> None:
    master, worker = (
        reach.Peer("loadtest", "loadtest", (("app", f"loadtest-{n}"),)) for n in ("master", "worker")
    )
    assert reach.may(objects, worker, master, 5557)
    assert reach.may(objects, worker, reach.GATEWAY, 443)
    assert not reach.may(objects, master, worker, 5557)
    assert not reach.may(objects, worker, reach.INTERNET, 443)
    assert not reach.may(objects, reach.STRANGER, master, 5557)


def test_all_files_are_there(objects: Objects) -> None:
    files = {p.name for p in Path(K8S / "components" / "loadtest").glob("*.yaml")} - {"kustomization.yaml"}
    assert len(of(objects, "NetworkPolicy")) == 4
    assert len(files) == len(objects)
