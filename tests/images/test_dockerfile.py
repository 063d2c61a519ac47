"""The Dockerfile builds what the manifests run, and the server's flags and files are ones that the server takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from images.check import LABELS
from model.contract import MODEL_NAME
from serving.config import read_model_config_file, read_monitoring_config
from serving.flags import parse
from tests.images.dockerfile import ROOT, arguments, stages

TEXT = (ROOT / "Dockerfile").read_text()
STAGES = stages(TEXT)
RUN = ("relay", "loadtest", "export", "server-bare")
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [str(HADOLINT), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", RUN)
def test_images_run_as_nobody_without_a_shell(name: str) -> None:
    stage = STAGES[name]
    assert stage.base in ("${PYTHON_RUNTIME}", "${CC_RUNTIME}")
    assert stage.last("USER") == "65532:65532"
    assert stage.vector("ENTRYPOINT")[0].startswith("/usr/bin/")
    assert stage.vector("CMD")
    # What has to run while an image is made runs in a stage before it: each RUN here would be a layer.
    assert not [rest for keyword, rest in stage.instructions if keyword == "RUN"]


@pytest.mark.parametrize("name", [*RUN, "model", "debug"])
def test_labels(name: str) -> None:
    labels = STAGES[name].last("LABEL")
    # The others are given by images/build.sh, for they differ from build to build.
    for label in LABELS[:3]:
        assert f"org.opencontainers.image.{label}=" in labels
    script = (ROOT / "images/build.sh").read_text()
    assert all(f"label {label} " in script for label in LABELS[3:])


def test_runtimes_are_distroless_and_pinned() -> None:
    bases = arguments(TEXT)
    digest = r"@sha256:[0-9a-f]{64}"
    assert re.fullmatch(rf"gcr\.io/distroless/cc-debian13:nonroot{digest}", bases["CC_RUNTIME"])
    assert re.fullmatch(rf"gcr\.io/distroless/python3-debian13:nonroot{digest}", bases["PYTHON_RUNTIME"])
    assert re.fullmatch(rf"python:3\.13-slim-trixie{digest}", bases["PYTHON_BASE"])
    assert re.fullmatch(rf"tensorflow/serving:\d+\.\d+\.\d+({digest})?", bases["SERVING_AMD64"])


def test_server_is_told_what_it_needs() -> None:
    stage = STAGES["server-bare"]
    _binary, *flags = stage.vector("ENTRYPOINT") + stage.vector("CMD")
    parsed = parse(flags)
    assert parsed.unknown == ()
    values = parsed.values
    assert (values["port"], values["rest_api_port"]) == (8500, 8501)
    assert values["enable_grpc_healthcheck_service"] is True
    assert {int(value) for value in stage.last("EXPOSE").split()} == {8500, 8501}
    for flag in ("model_config_file", "monitoring_config_file"):
        path = Path(str(values[flag]))
        assert str(path.parent) == "/etc/tf-serving"
        assert (ROOT / "images/server" / path.name).is_file()


def test_server_configs_are_read() -> None:
    folder = ROOT / "images/server"
    (model,) = read_model_config_file(str(folder / "models.config")) or ()
    assert (model.name, model.base_path) == (MODEL_NAME, f"/models/{MODEL_NAME}")
    assert read_monitoring_config(str(folder / "monitoring.config")) == "/monitoring/prometheus/metrics"


def test_relay_listens_for_the_pod() -> None:
    stage = STAGES["relay"]
    assert stage.vector("ENTRYPOINT") == ["/usr/bin/python3", "-m", "sightline", "relay"]
    assert stage.vector("CMD") == ["--listen=0.0.0.0:8600"]
    assert {int(value) for value in stage.last("EXPOSE").split()} == {8600, 8601}


def test_context_holds_what_the_wheel_is_made_of() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        project["project"]["readme"],
        "pyproject.toml",
        "LICENSE",
    }
    assert [n for n in needed if not allowed & {n, *map(str, Path(n).parents)}] == []


def test_pins_are_written(tmp_path: Path) -> None:
    """With a skopeo that answers a digest of its own for each image."""
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text('#!/bin/sh\necho "sha256:$(printf %s "$5" | sha256sum | cut -c1-64)"\n')
    skopeo.chmod(0o755)
    env = os.environ | {"PATH": f"{skopeo.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [ROOT / "images/pins.sh", tmp_path], env=env, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 4
    before, after = arguments(TEXT), arguments((tmp_path / "Dockerfile").read_text())
    assert before.keys() == after.keys()
    for name, image in after.items():
        if name != "SERVING_ARM64":
            assert image.partition("@")[0] == before[name].partition("@")[0]
            assert re.search(r"@sha256:[0-9a-f]{64}$", image)
            assert image != before[name]


def test_no_digest_ends_pins(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    skopeo = tmp_path / "skopeo"
    skopeo.write_text("#!/bin/sh\necho not found\n")
    skopeo.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [ROOT / "images/pins.sh", tmp_path], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("pins: no digest for python:3.13-slim-trixie")
    assert (tmp_path / "Dockerfile").read_text() == TEXT


def test_relay_needs_no_opencv() -> None:
    """Its images have none: the command line and the relay must not import it, by whatever way."""
    code = "import sys; sys.modules['cv2'] = None; import sightline.cli, client.relay.main, client.relay.http"
    code += ", client.relay.shadow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
