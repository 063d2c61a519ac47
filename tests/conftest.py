"""Models that several packages' tests need, exported once per run; and tests that want the machine for themselves."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

COCO_WEIGHTS_VARIABLE = "SIGHTLINE_COCO_WEIGHTS"
STREET_VIDEO_VARIABLE = "SIGHTLINE_STREET_VIDEO"
IMGSZ = 640
# Files that take 12 s and more. They begin first, so that no worker is left alone with one at the end.
LONG = (
    "rollout/test_live.py", "sightline/test_up.py", "loadtest/test_live.py", "sightline/test_error_lines.py",
    "loadtest/test_live_search.py", "observability/test_live.py", "client/test_live_page.py", "model/test_network.py",
    "terraform/test_terraform.py", "rollout/test_lifecycle.py", "client/test_relay_overload.py", "model/test_verify.py",
    "k8s/test_policies.py", "observability/test_rules.py", "sightline/test_bench_server.py",
    "client/test_stream_age.py", "k8s/test_manifests.py", "rollout/test_shadow.py", "model/test_export.py",
    "client/test_rtsp.py", "serving/test_environment.py", "serving/test_sessions.py", "mesh/live/test_stack.py",
    "model/test_demo_train.py", "client/test_streaming.py", "sightline/test_detections.py",
    "sightline/test_restarts.py", "client/test_relay_bad_cameras.py", "conformance/test_process.py",
    "client/test_stream_faults.py", "sightline/test_soak.py", "sightline/test_isolation.py", "k8s/test_checkov.py",
)  # fmt: skip


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would the programs that it starts and that tests send one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of LONG first, in its order."""
    tests = Path(__file__).parent
    places = {tests / file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test with the mark `alone` runs, the other workers wait between two of theirs."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    # Files that are there, for their locks.
    with Path(__file__).open() as running, (item.config.rootpath / "pyproject.toml").open() as following:
        # Who wants it alone waits here for the others to end, and holds back whoever would begin meanwhile.
        fcntl.flock(following, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(following, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:  # also where a fork of this process still has the file open
            fcntl.flock(running, fcntl.LOCK_UN)


def file_of(variable: str) -> Path:
    """The file that an environment variable names; skips the test where there is none."""
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        pytest.skip(f"{variable} names no file")
    return path


def _export(weights: str, name: str, factory: pytest.TempPathFactory) -> Path:
    """fp32 on every machine: bf16 is slow without hardware for it. Processes that share the tests share the model."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    base = folder / name / "yolov8"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.exists():
            command = [sys.executable, "-m", "sightline", "export", "--weights", weights, "--out", str(base)]
            subprocess.run([*command, "--imgsz", str(IMGSZ), "--precision", "fp32"], check=True)
    return base


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of the demo weights' model: version 1, fp32, 640x640."""
    return _export("demo", "demo_model", tmp_path_factory)


@pytest.fixture(scope="session")
def coco_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of the model of the COCO weights beside the checkout: version 1, fp32, 640x640."""
    weights = file_of(COCO_WEIGHTS_VARIABLE)
    return _export(str(weights), "coco_model", tmp_path_factory)


@pytest.fixture(scope="session")
def street_video() -> Path:
    """A real street's video beside the checkout."""
    return file_of(STREET_VIDEO_VARIABLE)
