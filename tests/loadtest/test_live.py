"""Locust itself, in processes of its own, against servers whose latencies are known."""

from __future__ import annotations

import csv
import json
import math
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from loadtest.known_server import stall_s
from loadtest.launch import LaunchConfig
from loadtest.percentiles import percentile_s
from loadtest.plan import DOUBTFUL, MISSED, OK
from loadtest.ports import free_address
from loadtest.profile import parse_profile
from loadtest.record import Recorder, Store, fate
from loadtest.results import Run, read_run
from loadtest.selfcheck import Truth, known_server, selfcheck, truths
from model.child import bound
from tests.loadtest.runs import assert_percentile
from tests.loadtest.test_profile import SMALL
from tests.sightline.stack import Running, alive, sightline, wait_until

ATTEMPTS = 2
BUSY_S = 0.004  # 1 % of the shortest latency: a server that is late by more can't have the latencies it says


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    """A self-check with two processes: its folder, and the truth. What the generator says of itself excuses nothing;
    on a machine so busy that the server could not keep its own times nothing can be told, and the tests skip."""
    late_s = []
    for _ in range(ATTEMPTS):
        folder = tmp_path_factory.mktemp("selfcheck")
        found, run, server_late_s = selfcheck(folder, LaunchConfig(processes=2))
        assert run.unaccounted == 0
        late_s.append(server_late_s)
        if server_late_s < BUSY_S or all(truth.ok for truth in found):
            return folder, found
    pytest.skip(
        f"the machine is too busy: the server was {1e3 * min(late_s):.0f} ms late at p99, by its own clock"
    )


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_known_latencies_are_measured_within_two_percent(checked: tuple[Path, list[Truth]]) -> None:
    folder, found = checked
    assert (folder / "report.html").is_file()
    assert {(truth.what, truth.figure, truth.off) for truth in found if not truth.ok} == set()
    known = {(truth.what, truth.figure): truth.truth for truth in found}
    assert known["camera, stalls", "p99 ms"] > known["camera, stalls", "p50 ms"] + 50  # the stalls are in it


def test_a_generator_that_waits_for_answers_is_found_out() -> None:
    """Coordinated omission: cameras that send the next frame when the one before is answered, and count from then.

    Whatever the server was asked, it answered as it should; but the schedule has four times as many frames.
    """
    recorder, store, begin_s = Recorder(), Store(), 1_000_000.0
    due_s: list[float] = []
    for camera in range(8):
        at_s = begin_s + 0.01 * camera
        while at_s < begin_s + 25:
            age_s = stall_s(at_s)
            recorder.offered("camera", at_s)
            recorder.add(fate("camera", "delivered", "v1"), at_s, age_s)
            due_s.append(at_s)
            at_s += age_s
    store.add(recorder.flush())
    run = Run(parse_profile("x", SMALL), {}, begin_s, begin_s + 25, store)
    found = {truth.figure: truth for truth in truths(run, due_s) if truth.what == "camera, stalls"}
    assert found["p50 ms"].ok
    assert not found["frames"].ok
    assert found["frames"].measured < 0.3 * found["frames"].truth


def test_percentiles_merged_over_processes_are_those_of_the_samples(
    checked: tuple[Path, list[Truth]],
) -> None:
    folder, _ = checked
    run, files = read_run(folder), list(folder.glob("samples-*.csv"))
    assert len(files) == 2  # both processes worked
    rows = [row for path in files for row in csv.DictReader(path.read_text().splitlines())]
    for user in ("camera", "predict", "rest"):
        ages = [float(r["age_ms"]) for r in rows if (r["user"], r["outcome"]) == (user, "delivered")]
        merged = run.store.window(0, float("inf"), user).ages
        assert merged.total_count == len(ages) > 500
        for percent in (50, 90, 99, 99.9):
            assert_percentile(percentile_s(merged, percent) * 1e3, ages, percent)


@pytest.mark.timeout(120)
def test_closed_callers_of_both_apis_run(tmp_path: Path) -> None:
    profile = tmp_path / "closed.yaml"
    profile.write_text(
        "description: Closed.\nusers: {predict: {}, rest: {}}\nimages: synthetic:fps=1,size=320x240\n"
        "stages: [{users: 2, for_s: 4}]\nslo: [{metric: delivered_percent, min: 100}]\n"
    )
    with known_server(tmp_path / "late.json") as target:
        done = sightline(
            "load", profile, "--server", target.server, "--rest", target.rest, "--out", tmp_path / "out"
        )
    assert done.code in (OK, DOUBTFUL), done.out + done.err
    run = read_run(tmp_path / "out")
    assert run.unaccounted == 0
    for user in ("predict", "rest"):  # of 0.4 s to 0.9 s each, 4 s long
        assert 3 <= run.store.window(0, math.inf, user).count("delivered") <= 11, done.out
    assert "predict (closed)" in done.out
    assert "rest (closed)" in done.out


def series_on_the_page(port: int) -> dict[str, int]:
    """Frames by series, as Locust's page has them; nothing while it is not there yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats/requests", timeout=5) as answer:
            tables = json.load(answer)["extended_stats"]
    except OSError:
        return {}
    return {row["series"]: int(row["count"]) for table in tables for row in table["data"]}


@pytest.mark.timeout(240)
def test_a_run_shows_its_series_and_ends_with_a_report_and_its_goals_status(tmp_path: Path) -> None:
    """Locust's page while it lasts; Ctrl-C ends it in good order, with the exit status of a goal that was missed."""
    profile = tmp_path / "long.yaml"
    profile.write_text(
        "description: Long.\nusers: {camera: {fps: 5}}\nimages: synthetic:fps=1,size=320x240\n"
        "stages: [{users: 2, for_s: 600}]\nstack: {mesh: false, server_ms: 20}\n"
        "slo: [{metric: age_ms, at: 50, max: 10}]\n"
    )
    out, port = tmp_path / "out", free_address().port
    command = [sys.executable, "-m", "sightline", "load", str(profile), "--out", str(out)]
    command += ["--web", "--web-port", str(port)]
    process = subprocess.Popen(bound(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end_s, shown = time.monotonic() + 120, dict[str, int]()
        while not shown.get("camera/delivered v1") and time.monotonic() < end_s and process.poll() is None:
            time.sleep(0.5)
            shown = series_on_the_page(port)
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert shown.get("camera/delivered v1"), output
    assert {"generator/lateness", "generator/lag", "stage/predict"} <= shown.keys()
    assert process.returncode == (DOUBTFUL if "WARNING" in output else MISSED), output
    assert f"page      http://127.0.0.1:{port}\n" in output
    assert "MISSED    age_ms p50 <= 10" in output
    assert "0 lost" in output
    assert (out / "report.html").is_file()
    assert "Traceback" not in output


def two_cameras(folder: Path, seconds: int) -> Path:
    """A profile without a stack."""
    path = folder / "two.yaml"
    path.write_text(
        "description: Two.\nusers: {camera: {fps: 5}}\nimages: synthetic:fps=1,size=320x240\n"
        f"stages: [{{users: 2, for_s: {seconds}}}]\nslo: [{{metric: age_ms, max: 300}}]\n"
    )
    return path


@pytest.mark.timeout(120)
def test_a_relay_that_never_answers_is_no_fault_of_the_generator(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        relay = f"127.0.0.1:{hung.getsockname()[1]}"
        done = sightline("load", two_cameras(tmp_path, 8), "--relay", relay, "--out", tmp_path / "out")
    assert done.code == MISSED, done.out + done.err
    assert "WARNING" not in done.out
    assert re.search(r"^MISSED    Nothing was delivered: camera: .+ \(\d+ times\)$", done.out, re.MULTILINE)
    assert "MISSED    age_ms p99 <= 300: no value" in done.out
    assert "Nothing was delivered: camera: " in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_ctrl_c_while_locust_starts_ends_quietly(after_s: float, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as anybody:
        relay = f"127.0.0.1:{anybody.getsockname()[1]}"
        running = Running(
            ["load", two_cameras(tmp_path, 600), "--relay", relay, "--out", tmp_path / "out"], tmp_path
        )
        try:
            running.until(running.children, 60)
            time.sleep(after_s)
            done = running.signal(signal.SIGINT).wait()
        finally:
            running.kill()
    assert (done.code, done.out, done.err) == (130, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_nothing_outlives_a_load_that_is_killed(tmp_path: Path) -> None:
    """Stand-in, relay, Locust, and the two workers that Locust forks."""
    profile = tmp_path / "long.yaml"
    profile.write_text(
        "description: Long.\nusers: {camera: {fps: 1}}\nimages: synthetic:fps=1,size=320x240\n"
        "stages: [{users: 2, for_s: 600}]\nstack: {mesh: false, server_ms: 20}\n"
    )
    running = Running(["load", profile, "--out", tmp_path / "out", "--processes", "2"], tmp_path)
    try:
        running.until(lambda: len(running.children()) == 5, 60)
        children = running.children()
        running.signal(signal.SIGKILL).wait()
        wait_until(lambda: not any(map(alive, children)), 30)
    finally:
        running.kill()
