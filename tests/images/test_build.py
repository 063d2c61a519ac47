"""Each image of `make images` is a stage of the Dockerfile with the build arguments that make it what its name says."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.dockerfile import ROOT, images, stages

STAGES = stages((ROOT / "Dockerfile").read_text())
# It only takes notes, a line for each argument.
DOCKER = """#!/bin/sh
[ "$1" = info ] || printf '%s\\n' "$@" >>"$LOG"
"""


def asked(folder: Path, image: str) -> list[str]:
    """The arguments that images/build.sh gives to docker."""
    (folder / "images").mkdir()
    shutil.copy(ROOT / "images/build.sh", folder / "images")
    shutil.copy(ROOT / "pyproject.toml", folder)
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    unset = ("PLATFORMS", "WEIGHTS", "STAND_INS")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"PATH": f"{docker.parent}:{os.environ['PATH']}", "LOG": str(folder / "log")}
    subprocess.run([folder / "images/build.sh", image], env=env, capture_output=True, check=True)
    return (folder / "log").read_text().splitlines()


def values(arguments: list[str], option: str) -> set[str]:
    return {value for name, value in itertools.pairwise(arguments) if name == option}


@pytest.mark.parametrize("image", images())
def test_every_image_is_a_stage(tmp_path: Path, image: str) -> None:
    arguments = asked(tmp_path, image)
    assert values(arguments, "--target") <= STAGES.keys()
    built = [value for value in values(arguments, "--output") if f"dest=build/images/{image}," in value]
    assert len(built) == 1


def test_the_relay_for_rollouts_is_the_relay_with_scipy(tmp_path: Path) -> None:
    plain, rollout = tmp_path / "1", tmp_path / "2"
    for folder in (plain, rollout):
        folder.mkdir()
    assert not any("RELAY_EXTRA" in argument for argument in asked(plain, "relay"))
    arguments = asked(rollout, "relay-rollout")
    assert values(arguments, "--target") == {"relay"}
    assert "RELAY_EXTRA=scipy" in values(arguments, "--build-arg")
    # Whether it can be imported is asked of the runtime's own interpreter and libraries.
    assert ("ARG", "RELAY_EXTRA=") in STAGES["relay-checked"].instructions
