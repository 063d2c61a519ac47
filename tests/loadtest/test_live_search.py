"""Locust itself: users that end with an error, a master and a worker as two commands, and a search."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.launch import LaunchConfig
from loadtest.plan import DOUBTFUL, RESULT, Search, Target
from loadtest.ports import free_address
from loadtest.profile import CameraLoad, Goal, Profile, StackSpec, Stage
from loadtest.results import read_run
from loadtest.stack import StandInConfig, StandIns, relay
from model.child import bound
from sightline.load import LoadConfig
from sightline.load import run as run_load
from tests.client.certificates import self_signed
from tests.sightline.stack import sightline

COMMAND = [sys.executable, "-m", "sightline", "load"]
IMAGES = "images: synthetic:fps=1,size=320x240\n"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Two cameras for a while."""
    path = tmp_path / "short.yaml"
    path.write_text(
        f"description: Short.\nusers: {{camera: {{fps: 5}}}}\n{IMAGES}stages: [{{users: 2, for_s: 6}}]\n"
        "slo: [{metric: lost, max: 0}]\n"
    )
    return path


@pytest.mark.timeout(120)
def test_a_camera_without_a_token_ends_the_run(profile: Path, tmp_path: Path) -> None:
    """One token of two is there: the run must not go on with the other camera alone, and must not pass. The camera is
    a worker's, which tells the master."""
    ca = self_signed(tmp_path)
    (tmp_path / "cam-0-0.jwt").write_text("a.b.c\n")
    with StandIns(("v1",), StandInConfig(1)) as servers:  # anybody who takes connections
        done = sightline(
            "load", profile, "--relay", str(servers.addresses["v1"]), "--ca", ca,
            "--tokens", tmp_path, "--out", tmp_path / "out", "--processes", "2",
        )  # fmt: skip
    assert done.code == DOUBTFUL, done.out + done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("error     a user ended")]
    assert re.search(r"camera: --tokens: .* has neither token-key\.pem nor cam-\d-0\.jwt", line)
    assert "WARNING   a user ended, and the run with it: camera: --tokens" in done.out
    assert "Traceback" not in done.out + done.err
    assert "Handshake failed" not in done.err  # the other camera's: gRPC would say so at each try
    assert json.loads((tmp_path / "out" / RESULT).read_text())["exit_status"] == DOUBTFUL
    run = read_run(tmp_path / "out")
    assert run.load_end_s - run.began_s < 4
    assert "cam-" in run.failure


@pytest.mark.timeout(120)
def test_a_master_and_a_worker_are_two_commands(profile: Path, tmp_path: Path) -> None:
    port, listen = str(free_address().port), free_address()
    with StandIns(("v1",), StandInConfig(5)) as servers, relay(servers.addresses["v1"], listen):
        ours = [*COMMAND, "run", str(profile), "--relay", str(listen)]
        worker = subprocess.Popen(
            bound([*ours, "--out", str(tmp_path / "worker"), "--", "--worker", "--master-port", port]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            master = subprocess.run(
                [
                    *ours, "--out", str(tmp_path / "master"), "--", "--master", "--expect-workers", "1",
                    "--master-bind-host", "127.0.0.1", "--master-bind-port", port,
                ],
                capture_output=True, text=True, timeout=90, check=False,
            )  # fmt: skip
            worker.send_signal(signal.SIGINT)  # it waits for another run
            said, _ = worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert master.returncode in (0, DOUBTFUL), master.stdout + master.stderr
    assert "Traceback" not in master.stdout + master.stderr + said
    assert "goal met  lost <= 0" in master.stdout
    run = read_run(tmp_path / "master")
    assert run.unaccounted == 0
    assert run.window().count("delivered") >= 0.9 * 2 * 5 * run.window().seconds > 20
    ((_, behind_s),) = run.store.behind_s.items()
    assert 0 <= behind_s < 0.5  # one machine, one clock
    assert not (tmp_path / "worker" / RESULT).exists()


@pytest.mark.timeout(120)
def test_a_search_finds_the_capacity_that_is_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One place of 80 ms: 12.5 frames a second, which is one camera at 8, and not two."""
    goals = (Goal("age_ms", at=90, max=500), Goal("delivered_percent", min=95), Goal("lost", max=0))
    profile = Profile(
        "capacity", "Known.", (Stage(1, 3),), camera=CameraLoad(8, max_age_ms=300), slo=goals,
        images="synthetic:fps=1,size=320x240", stack=StackSpec(mesh=False, server_ms=80, server_workers=1),
    )  # fmt: skip
    out = tmp_path / "out"
    search = Search(most=2, settle_s=1.0, measure_s=2.0)
    status = run_load(LoadConfig(profile, Target(), out, LaunchConfig(), search=search))
    said = capfd.readouterr().out
    assert status in (0, DOUBTFUL), said
    assert re.search(r"answer    1 user at 8 frames/s each holds in \d of \d trials", said), said
    run = read_run(out)
    (two,) = [point for point in run.points() if point.users == 2]
    assert two.offered_per_s == pytest.approx(16, abs=1)
    assert 0 < two.delivered_per_s < 13
    assert [p.held for p in run.plateaus if p.users == 2][-1] is False
    assert run.window().offered == pytest.approx(8 * run.window().seconds, abs=2)
