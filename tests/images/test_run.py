"""The relay's images run: a frame from a camera goes through it to a model server and comes back as boxes.

`make images-test` runs these on what `make images` built; without SIGHTLINE_IMAGES they are skipped. The image's file
system is unpacked and changed into (chroot), with nothing of this machine's but its kernel and network.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from client import DetectionStream, Status, StreamConfig
from client.sources import SourceOptions, open_source
from images.oci import Image, read_layout
from sightline.ready import wait_serving
from tests.images.dockerfile import ROOT
from tests.sightline.stack import Running, free_ports, wait_ready

VARIABLE = "SIGHTLINE_IMAGES"
NOBODY = 65532
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"

pytestmark = [
    pytest.mark.skipif(
        VARIABLE not in os.environ, reason=f"{VARIABLE} names no folder of images: make images"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root"),
    pytest.mark.timeout(300),
]
Unpack = Callable[[str], tuple[Image, Path]]


@pytest.fixture(scope="module")
def unpack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unpack]:
    """An image of this machine's platform, and its file system in a folder; read-only for all but root."""
    folders: list[Path] = []

    def unpacker(name: str) -> tuple[Image, Path]:
        layout = Path(os.environ[VARIABLE]) / name
        if not layout.exists():
            pytest.skip(f"{layout} was not built: make images IMAGES={name}")
        image = read_layout(layout)[0]
        folders.append(tmp_path_factory.mktemp(name))
        for layer in image.layers:
            with tarfile.open(layout / "blobs" / Path(*layer.digest.split(":"))) as tar:
                tar.extractall(folders[-1], filter="fully_trusted")
        for writable in ("tmp", "home/nonroot"):
            if (folder := folders[-1] / writable).is_dir():
                folder.chmod(0o555)
        folders[-1].chmod(0o755)
        return image, folders[-1]

    yield unpacker
    for folder in folders:
        shutil.rmtree(folder)


def start(
    image: Image, root: Path, *arguments: str, log: Path, entrypoint: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """The entrypoint with these arguments in place of the command, as Kubernetes starts it under `restricted`."""
    config = image.run_config
    env = dict(line.split("=", 1) for line in config["Env"])
    command = [CHROOT, f"--userspec={config['User']}", str(root)]
    command += [*(entrypoint or config["Entrypoint"]), *arguments]
    with log.open("wb") as out:
        return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[str]:
    """The embedded server, with what the server image's flags say."""
    (port,) = free_ports(1)
    arguments = (
        "serve", f"--port={port}", "--model_name=yolov8", f"--model_base_path={demo_model}",
        "--enable_grpc_healthcheck_service",
    )  # fmt: skip
    running = Running(arguments, tmp_path_factory.mktemp("server"))
    wait_ready(port, running)
    yield f"127.0.0.1:{port}"
    running.kill()


@pytest.mark.parametrize(("name", "more"), [("relay", ()), ("relay-rollout", ("--shadow-percent=20",))])
def test_relay_streams_frames(
    unpack: Unpack, server: str, tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    image, root = unpack(name)
    (port,) = free_ports(1)
    log = tmp_path / "relay.log"
    flags = (f"--listen=127.0.0.1:{port}", f"--target={server}", "--http-port=0", "--no-page", *more)
    relay = start(image, root, *flags, log=log)
    try:
        wait_serving(f"127.0.0.1:{port}", 60.0, lambda: None)
        status = Path(f"/proc/{relay.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t", status, re.MULTILINE)
        patient = StreamConfig(max_age_s=30.0)  # the machine may be busy
        with DetectionStream(
            open_source("synthetic", SourceOptions()), f"127.0.0.1:{port}", patient
        ) as stream:
            # Frames that newer ones overtook are dropped, which is right.
            answered = (result for result in stream if result.status is not Status.DROPPED)
            results = [result for result, _ in zip(answered, range(5), strict=False)]
        assert {result.status for result in results} == {Status.DELIVERED}
        assert all(result.detections is not None and len(result.detections) > 3 for result in results)
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(20) == 0
    finally:
        relay.kill()
        relay.wait()
    assert "relay stopped" in log.read_text()


def test_relay_without_opencv_says_so(unpack: Unpack, tmp_path: Path) -> None:
    image, root = unpack("relay")
    log = tmp_path / "relay.log"
    relay = start(image, root, "--listen=127.0.0.1:0", "--http-port=0", "--page", log=log)
    assert relay.wait(30) == 1
    assert log.read_text().splitlines()[-1].startswith("sightline: the page and /v1/detect need OpenCV")
    assert "Traceback" not in log.read_text()


def test_wheel_is_a_laptops(unpack: Unpack, tmp_path: Path) -> None:
    """The image's packages of ours are, file by file, those of a wheel built here."""
    _image, root = unpack("relay")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    ours, inside = tmp_path / "wheel", root / "app"
    shutil.unpack_archive(wheel, ours, "zip")
    files = [path.relative_to(ours) for path in ours.rglob("*") if path.is_file() and path.name != "RECORD"]
    assert len(files) > 100
    assert [
        f for f in files if not (inside / f).is_file() or (inside / f).read_bytes() != (ours / f).read_bytes()
    ] == []
    assert not list(inside.glob("tensorflow*"))


def test_debug_has_its_tools(unpack: Unpack, tmp_path: Path) -> None:
    image, root = unpack("debug")
    for tool in ("py-spy", "perf", "eu-stack", "pgrep"):
        log = tmp_path / tool
        shell = start(image, root, log=log, entrypoint=["/bin/sh", "-c", f"{tool} --version"])
        assert shell.wait(30) == 0, log.read_text()
    asked = start(image, root, "gpu", "1", log=tmp_path / "sample")
    assert asked.wait(30) == 2
    assert (tmp_path / "sample").read_text() == "expected relay or server, got gpu\n"
