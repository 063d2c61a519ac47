"""`sightline up`: the whole stack starts, streams, and ends without a trace, however it ends."""

from __future__ import annotations

import fcntl
import re
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from client.detect_config import configure
from sightline.models import ServedModel
from sightline.up import UpConfig, needs_demo_note
from tests.sightline.conftest import Main, Spawn
from tests.sightline.stack import (
    Done,
    Running,
    alive,
    assert_rows_match,
    can_listen,
    counts_of,
    free_ports,
    rows_of,
    sightline,
    wait_until,
)

pytestmark = pytest.mark.timeout(300)

PORT_OPTIONS = ("--port", "--rest-api-port", "--relay-port", "--http-port", "--gateway-port")
MODEL = ("--weights", "demo", "--imgsz", "320")
MONITORING = ("--monitoring",) if shutil.which("prometheus") else ()
PLAIN = ("--no-mesh", "--precision", "fp32")  # the model that the mesh serves as v1


@dataclass(frozen=True)
class Stack:
    """Its ports, and the arguments of an `up` on them."""

    ports: list[int]
    arguments: list[str]

    def assert_gone(self, children: list[psutil.Process], least: int = 2) -> None:
        """None of so many children is left, and no port is taken."""
        assert len(children) >= least
        wait_until(lambda: not any(map(alive, children)), 20)
        assert all(map(can_listen, self.ports))


def stack(models: Path, *more: str) -> Stack:
    ports = free_ports(len(PORT_OPTIONS))
    options = [f"{option}={port}" for option, port in zip(PORT_OPTIONS, ports, strict=True)]
    return Stack(ports, ["up", *MODEL, "--models", str(models), *options, *more])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all these runs keep their model; empty before the first."""
    return tmp_path_factory.mktemp("up") / "models"


@pytest.fixture(scope="module")
def first(models: Path) -> tuple[Done, Path]:
    """The first run on a fresh machine, through the mesh, by itself to its end; and its folder."""
    folder = models.parent / "first"
    options = ("--duration", "4", "--max-age", "2", "--jsonl", "rows.jsonl", "--save", *MONITORING)
    stacked = stack(models, *options)
    running = Running(stacked.arguments, folder)
    try:
        running.until_says("ready ")
        children = running.children()
        done = running.wait()
    finally:
        running.kill()
    stacked.assert_gone(children, 4)
    return done, folder


def test_it_runs_for_a_while_and_accounts_for_every_frame(first: tuple[Done, Path]) -> None:
    done, folder = first
    assert (done.code, done.err) == (0, "")
    counts = counts_of(done.out)
    assert counts.delivered > 10
    assert counts.errored == 0
    rows = rows_of(folder / "rows.jsonl")
    assert_rows_match(rows, counts)
    assert {row["version"] for row in rows if row["status"] == "delivered"} <= {1, 2}
    for pattern in (
        r"^exporting yolov8n-street\.pt to a SavedModel, v1 in fp32 \.\.\.$",
        r"^v1        yolov8 v1: yolov8n-street\.pt, fp32, 320x320, 6 classes$",
        r"^v2        yolov8 v2: yolov8n-street\.pt, (fp32|bf16), 320x320, 6 classes$",
        r"^stack     relay 127\.0\.0\.1:\d+, model server 127\.0\.0\.1:\d+, REST http://\S+$",
        r"^ready     in \d+\.\d s; logs in runs/up/logs$",
        r"^cameras   stream to 127\.0\.0\.1:\d+ through Envoy with istio/$",
        r"^live      http://127\.0\.0\.1:\d+/ \(Ctrl-C stops\)$",
        r"^rate      \d+\.\d frames/s delivered$",
        r"^age       p50 \d+ ms  p99 \d+ ms$",
        r"^model     yolov8 v\d",
        r"^found     [1-9]\d* objects, \d+\.\d a frame$",
    ):
        assert re.search(pattern, done.out, re.MULTILINE), (pattern, done.out)


def test_it_leaves_a_video_and_logs(first: tuple[Done, Path]) -> None:
    _, folder = first
    run = folder / "runs" / "up"
    assert (run / "saved" / "synthetic-3.mp4").stat().st_size > 10_000
    assert (run / "logs").stat().st_mode & 0o077 == 0
    logs = {log.name: log.read_text() for log in (run / "logs").glob("*.log")}
    assert {"server-v1.log", "server-v2.log", "relay.log"} <= set(logs)
    assert not [name for name, text in logs.items() if "Traceback" in text]


@pytest.mark.skipif(not MONITORING, reason="prometheus is not installed")
def test_it_runs_prometheus_beside_it(first: tuple[Done, Path]) -> None:
    done, folder = first
    line = r"^metrics   http://127\.0\.0\.1:\d+/ Prometheus, with the cluster's rules and alerts$"
    assert re.search(line, done.out, re.MULTILINE), done.out
    data = folder / "runs" / "up" / "prometheus"
    assert data.stat().st_mode & 0o077 == 0
    assert any((data / "data" / "wal").iterdir())


def test_without_prometheus_it_says_so_before_anything_else(
    models: Path, tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = main(*stack(models, "--monitoring").arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.error_line == (
        "sightline: --monitoring: there is no prometheus on the PATH: apt-get install prometheus (Debian), "
        "or leave it out"
    )


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (("gone.mp4",), "no such file or folder: 'gone.mp4'"),
        (("synthetic", "gone.mp4"), "no such file or folder: 'gone.mp4'"),
        (("empty",), "no images in empty: expected files with one of the endings "),
        (("notes.mp4",), "cannot read notes.mp4 as a video: is it one, and whole?"),
        (("htpp://user:secret@host/x",), "cannot open htpp://***@host/x: expected one of "),
        (("sythetic",), "no such file or folder: 'sythetic'"),
    ],
)
def test_a_source_that_cannot_work_is_told_before_anything_else(
    models: Path, tmp_path: Path, main: Main, sources: tuple[str, ...], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.mp4").write_text("no video")
    done = main(*stack(models, *sources).arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.error_line.startswith(f"sightline: {says}")


def test_a_second_run_exports_nothing_and_ctrl_c_ends_it(
    first: tuple[Done, Path], models: Path, spawn: Spawn
) -> None:
    before = sorted(models.rglob("*"))
    stacked = stack(models, *PLAIN, "--jsonl", "rows.jsonl")
    running = spawn(*stacked.arguments)
    running.until_says("ready ")
    children = running.children()
    rows = running.folder / "rows.jsonl"
    running.until(lambda: sum(row["status"] == "delivered" for row in rows_of(rows)) > 5)
    done = running.interrupt().wait()
    assert (done.code, done.err) == (0, "")
    assert "exporting" not in done.out
    assert sorted(models.rglob("*")) == before
    assert_rows_match(rows_of(rows), counts_of(done.out))
    stacked.assert_gone(children)


def test_ctrl_c_while_it_starts(first: tuple[Done, Path], models: Path, spawn: Spawn) -> None:
    stacked = stack(models, *PLAIN)
    running = spawn(*stacked.arguments)
    running.until(running.children)
    children = running.children()
    done = running.interrupt().wait()
    assert (done.code, done.err) == (130, "")
    stacked.assert_gone(children, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_nothing_outlives_a_supervisor_that_is_killed(
    first: tuple[Done, Path], models: Path, spawn: Spawn
) -> None:
    stacked = stack(models)
    running = spawn(*stacked.arguments)
    running.until_says("ready ")
    children = running.children()
    running.signal(signal.SIGKILL).wait()
    stacked.assert_gone(children, 4)


def test_a_server_that_dies_ends_it_with_the_end_of_its_log(
    first: tuple[Done, Path], models: Path, spawn: Spawn
) -> None:
    stacked = stack(models, *PLAIN, "--jsonl", "rows.jsonl")
    running = spawn(*stacked.arguments)
    running.until_says("ready ")
    children = running.children()
    rows = running.folder / "rows.jsonl"
    running.until(lambda: any(row["status"] == "delivered" for row in rows_of(rows)))
    running.child("serve").kill()
    done = running.wait()
    assert done.code == 1
    first_line, *log = done.err.splitlines()
    assert first_line == "sightline: server was ended by SIGKILL; the end of runs/up/logs/server.log:"
    assert any("Running gRPC ModelServer" in line for line in log)
    assert len(log) <= 12
    assert_rows_match(rows_of(rows), counts_of(done.out))
    stacked.assert_gone(children)


def test_an_envoy_that_dies_ends_it(first: tuple[Done, Path], models: Path, spawn: Spawn) -> None:
    stacked = stack(models, "--jsonl", "rows.jsonl", "--max-age", "2")
    running = spawn(*stacked.arguments)
    running.until_says("ready ")
    children = running.children()
    rows = running.folder / "rows.jsonl"
    running.until(lambda: any(row["status"] == "delivered" for row in rows_of(rows)))
    (envoy,) = [child for child in children if "envoy" in child.name()]
    envoy.kill()
    done = running.wait()
    assert done.code == 1
    assert done.error_line.startswith("sightline: Envoy ended with code -9")
    assert_rows_match(rows_of(rows), counts_of(done.out))
    stacked.assert_gone(children, 4)


def test_a_taken_port_is_one_line_that_names_its_option(models: Path, tmp_path: Path, main: Main) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in PORT_OPTIONS:
            done = main(*stack(models, f"{option}={port}").arguments, cwd=tmp_path)
            assert (done.code, done.out) == (1, "")
            assert done.error_line == (
                f"sightline: port {port}: Address already in use; choose another with {option}"
            )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port=8500", "--relay-port=8500"), "--relay-port and --port are both 8500: give each its own"),
        (("--port=0",), "--port: expected 1 to 65535, got 0"),
        (("--http-port=65536",), "--http-port: expected 1 to 65535, got 65536"),
        (("--imgsz=100",), "imgsz must be a positive multiple of 32, got 100: try 96"),
        (("--no-mesh", "--precision=int8"), "precision must be one of fp32, bf16, auto, got 'int8'"),
        (
            ("--precision=fp32",),
            "--precision goes with --no-mesh: in the mesh v1 is fp32, and v2 bf16 where the CPU has it",
        ),
        (("--no-mesh", "--component=weights/50"), "--component goes with the mesh: leave --no-mesh out"),
        (("--conf=2",), "conf: expected 0 to 1, got 2"),
        (("--duration=-1",), "duration: expected 0 or more seconds, got -1"),
    ],
)
def test_options_that_cannot_be(
    models: Path, tmp_path: Path, main: Main, arguments: tuple[str, ...], message: str
) -> None:
    done = main(*stack(models).arguments, *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.error_line == f"sightline: {message}"


def test_a_second_stack_in_the_same_folder_is_refused(models: Path, tmp_path: Path, main: Main) -> None:
    """Their logs and their rollouts would be one."""
    runs = tmp_path / "runs" / "up"
    runs.mkdir(parents=True)
    with (runs / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = main(*stack(models).arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.error_line == (
        "sightline: another stack runs in runs/up: end it first, or start this one from another folder"
    )


def test_a_damaged_model_ends_it_at_once(first: tuple[Done, Path], models: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "models"
    shutil.copytree(models, damaged)
    for saved in damaged.rglob("saved_model.pb"):
        saved.write_bytes(saved.read_bytes()[:1000])
    started_s = time.monotonic()
    done = sightline(*stack(damaged, *PLAIN).arguments, cwd=tmp_path)
    assert done.code == 1
    assert time.monotonic() - started_s < 60  # not the three minutes that a slow machine has
    assert "OUT_OF_RANGE: Read less bytes than requested" in done.err
    assert done.err.splitlines()[-1].startswith(f"If the model is damaged, remove {damaged}")


@pytest.mark.parametrize(
    ("weights", "spec", "sources", "noted"),
    [
        (None, "demo", ["synthetic:fps=5"], False),
        (None, "demo", ["synthetic", "0"], True),
        (None, "yolov8n.pt", ["0"], False),
        ("demo", "demo", ["0"], False),  # as was asked for
    ],
)
def test_demo_weights_for_other_pictures_are_told(
    weights: str | None, spec: str, sources: list[str], noted: bool
) -> None:
    config = UpConfig(configure([{"source": source} for source in sources], {}), weights)
    models = {"v1": cast(ServedModel, SimpleNamespace(weights_spec=spec))}
    assert needs_demo_note(config, models) is noted


def test_a_component_that_is_not_there_is_said_at_once(models: Path, tmp_path: Path, main: Main) -> None:
    done = main(*stack(models, "--component=nosuch").arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.error_line.startswith("sightline: no component nosuch; there are ")


def test_components_in_an_order_that_cannot_be_are_said_at_once(
    models: Path, tmp_path: Path, main: Main
) -> None:
    components = ("--component=faults/abort-one-camera", "--component=weights/20")
    done = main(*stack(models, *components).arguments, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "weights/20/patch.yaml:2: test failed" in done.error_line
    assert done.error_line.endswith("; components are applied in the order given: try another")


def test_weights_that_are_none_end_it_with_the_exports_own_words(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    done = sightline(*stack(tmp_path / "models").arguments, "--weights=text.pt", cwd=tmp_path)
    assert done.code == 1
    assert done.error_line == (
        "sightline: text.pt is not a .pt file of YOLOv8 weights, or it is damaged (5 bytes)"
    )
    assert not list((tmp_path / "models").glob("*/*"))
