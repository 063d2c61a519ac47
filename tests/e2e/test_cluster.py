"""What the end-to-end run sends to a cluster, as far as it can be checked without one, and how it judges a log."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
import yaml

from client.sources import camera_ids
from mesh.certificates import Authority
from mesh.resources import Resource
from mesh.tokens import ISSUER, TokenIssuer
from sightline.cli import app
from tests.e2e import cluster
from tests.k8s.validate import schemas

LOG = """frames    1051 captured = 1049 delivered + 2 errored + 0 dropped
rate      10.0 frames/s delivered
model     yolov8 v1 79 %, v2 21 %
"""


def test_objects_fit_kubernetes(tmp_path: Path) -> None:
    objects = [
        *cluster.secrets(Authority.create("test"), TokenIssuer(tmp_path)),
        cluster.camera_job("a", "10.0.0.1"),
    ]
    assert [problem for o in objects for problem in schemas([Resource(cast(Any, o))])] == []


def test_camera_is_asked_for_what_there_is() -> None:
    container = cluster.camera_job("a", "10.0.0.1")["spec"]["template"]["spec"]["containers"][0]
    command = typer.main.get_command(app)
    name, *arguments = container["args"]
    detect = command.commands[name]  # type: ignore[attr-defined]
    context = detect.make_context(name, arguments)
    assert list(context.params["sources"]) == ["synthetic"]
    assert context.params["fps"] * context.params["duration"] >= 1000
    assert camera_ids(["synthetic"]) == [cluster.CAMERA]  # the only one that its token allows


def test_patches_meet_what_is_there() -> None:
    """The rules and routes that the script changes by their places."""
    base = cluster.ROOT / "istio/base"
    cameras = yaml.safe_load((base / "ingress/request-authentication-cameras.yaml").read_text())
    (rule,) = cameras["spec"]["jwtRules"]
    assert (rule["issuer"], "jwksUri" in rule) == (ISSUER, True)
    split = yaml.safe_load((base / "serving/virtual-service-tf-serving-80-20.yaml").read_text())
    weighted = split["spec"]["http"][1]
    assert weighted["name"] == "weighted"
    assert [(to["destination"]["subset"], to["weight"]) for to in weighted["route"]] == [
        ("v1", 80),
        ("v2", 20),
    ]
    gateway = yaml.safe_load((base / "ingress/gateway-detect.yaml").read_text())
    assert gateway["spec"]["servers"][0]["hosts"] == [f"object-detection/{cluster.HOST}"]
    local = yaml.safe_load((cluster.ROOT / "k8s/overlays/local/kustomization.yaml").read_text())
    loaded = {f"sightline/{image}:dev" for image in cluster.IMAGES}
    assert {f"{image['newName']}:{image['newTag']}" for image in local["images"]} <= loaded


def test_good_log() -> None:
    cluster.check(LOG, {1: (72, 88), 2: (12, 28)})


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        ("", "printed no summary"),
        (LOG.replace("1051", "1052"), "does not add up"),
        (LOG.replace("1051 captured = 1049", "951 captured = 949"), "expected 1000 frames or more"),
        (LOG.replace("1049 delivered + 2", "900 delivered + 151"), "95 % of them delivered"),
        (LOG.replace("v1 79 %, v2 21 %", "v1 100 %"), "v1 answered 100 %; expected 72 to 88 %"),
        (LOG.replace(", v2 21 %", ""), "v2 answered 0 %; expected 12 to 28 %"),
    ],
)
def test_bad_log(log: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        cluster.check(log, {1: (72, 88), 2: (12, 28)})


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in ("kind", "helm") else tool)
    with pytest.raises(SystemExit, match="e2e: not installed: kind, helm"):
        cluster.main()
