"""Locust itself, in processes of its own, against servers whose latencies are known."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.launch import LaunchConfig
from loadtest.record import LATENESS, percentile_s
from loadtest.results import read_run
from loadtest.selfcheck import selfcheck
from sightline.cli import app
from tests.loadtest.runs import assert_percentile

ATTEMPTS = 3  # a shared machine has bad moments; a generator that is wrong is wrong each time


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a self-check with two processes and samples; the first of some whose percentiles are right."""
    wrong: list[str] = []
    for _ in range(ATTEMPTS):
        folder = tmp_path_factory.mktemp("selfcheck")
        found, run = selfcheck(folder, LaunchConfig(processes=2), samples=True)
        if all(truth.ok for truth in found):
            assert run.unaccounted == 0
            return folder
        wrong += [
            f"{truth.what} p{truth.percent:g} {100 * truth.off:+.1f} %" for truth in found if not truth.ok
        ]
        wrong.append(f"sent {1e3 * percentile_s(run.store.totals[LATENESS], 99):.1f} ms late at p99")
    pytest.fail(f"percentiles that are off: {'; '.join(wrong)}")


@pytest.mark.timeout(240)
def test_known_latencies_are_measured_within_two_percent(checked: Path) -> None:
    assert (checked / "report.html").is_file()


def test_percentiles_merged_over_processes_are_those_of_the_samples(checked: Path) -> None:
    run, files = read_run(checked), list(checked.glob("samples-*.csv"))
    assert len(files) == 2  # both processes worked
    rows = [row for path in files for row in csv.DictReader(path.read_text().splitlines())]
    for user in ("camera", "predict"):
        ages = [float(row["age_ms"]) for row in rows if row["user"] == user]
        merged = run.store.window(0, float("inf"), user).ages
        assert merged.total_count == len(ages) > 500
        for percent in (50, 90, 99, 99.9):
            assert_percentile(percentile_s(merged, percent) * 1e3, ages, percent)


def test_ctrl_c_ends_a_run_with_a_report(tmp_path: Path) -> None:
    profile = tmp_path / "long.yaml"
    profile.write_text(
        "description: Long.\nusers: {camera: {fps: 5}}\nimages: synthetic:fps=1,size=320x240\n"
        "stages: [{users: 2, for_s: 600}]\nstack: {mesh: false, server_ms: 20}\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sightline", "load", str(profile), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end_s = time.monotonic() + 60
        while not (out / "began").exists() and time.monotonic() < end_s:
            time.sleep(0.2)
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode in (0, 3), output
    assert "0 lost" in output
    assert (out / "report.html").is_file()
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonesuch"], "no profile 'nonesuch'"),
        (["steady", "--relay", "nonsense"], "--relay: expected host:port"),
        (["steady", "--relay", "127.0.0.1:1"], "nobody answers there"),
        (["steady", "--rest", "ftp://x"], "--rest: expected http"),
        (["steady", "--ca", "/nonesuch"], "--ca: no file /nonesuch"),
        (["steady", "--tokens", "/nonesuch"], "--tokens: no folder"),
        (["steady", "--stack", "cloud"], "--stack: expected plain or mesh"),
        (["chaos", "--out", "."], "expected an empty or a new folder"),
        (["compare", "nonesuch", "nonesuch"], "name the folder of a run"),
        (["capacity", "--relay", "127.0.0.1:1"], "nobody answers there"),
    ],
)
def test_errors_of_the_command_are_a_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, RuntimeError), match=says) as caught:
        app(["load", *arguments], standalone_mode=False)
    assert "\n" not in str(caught.value)
