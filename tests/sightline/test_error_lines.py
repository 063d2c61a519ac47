"""What a user gets wrong is one line that says what to do, and a status that is not 0. Never a traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.client.media import jpeg, picture
from tests.sightline.conftest import Main, ModelServer, Spawn, start_relay
from tests.sightline.stack import counts_of, free_ports, sightline

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are not what they should be, and `a.jpg`, which is."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.pt").write_text("hello")
    (folder / "bad.mp4").write_text("no video")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty").mkdir()
    (folder / "a.jpg").write_bytes(jpeg(picture(size_wh=(320, 240))))
    return folder


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """A target where nobody listens, and nobody will: the port is bound."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("export", "--weights=gone.pt", "--out=x"),
            "no weights at gone.pt: expected a .pt file's path or one of demo, yolov8n.pt, yolov8s.pt, "
            "yolov8m.pt, yolov8l.pt, yolov8x.pt",
        ),
        (
            ("export", "--weights=demo", "--out=x", "--imgsz=100"),
            "imgsz must be a positive multiple of 32, got 100: try 96",
        ),
        (
            ("export", "--weights=demo", "--out=x", "--imgsz=wide"),
            "--imgsz: expected N or HEIGHTxWIDTH, got 'wide'",
        ),
        (("export", "--weights=demo", "--out=x", "--conf=1"), "conf must lie between 0 and 1, got 1.0"),
        (
            ("verify", "empty", "--weights=demo"),
            "empty: expected a SavedModel version, or a folder of versions, found neither",
        ),
        (("detect", "a.jpg", "--conf=2"), "conf: expected 0 to 1, got 2"),
        (("detect", "a.jpg", "--classes=0,"), "classes: expected ids or names such as 0 or person, got an empty one"),
        (("detect", "a.jpg", "--vid-stride=0"), "vid_stride: expected 1 or more, got 0"),
        (("detect", "a.jpg", "--relay=here"), "--relay: expected host:port, got 'here'"),
        (("detect", "a.jpg", "--server=:8500"), "--server: expected host:port, got ':8500'"),
        (("detect", "a.jpg", "--jsonl=empty"), "cannot write empty: Is a directory"),
        (
            ("detect", "a.jpg", "--show"),
            "--show: there are no windows in the headless OpenCV; --save writes annotated pictures",
        ),
        (
            ("detect", "a.jpg", "--model-name=coco"),
            "--model-name goes with --server; which model a relay asks is its own --model-name",
        ),
        (("relay", "--target=here"), "--target: expected host:port, got 'here'"),
        (("relay", "--in-flight=0"), "--in-flight: expected more than 0, got 0"),
        (("relay", "--max-streams=0"), "--max-streams: expected more than 0, got 0"),
        (
            ("relay", "--max-image-bytes=99999999"),
            "--max-image-bytes: expected up to 16711680, as much as a message carries, got 99999999",
        ),
        (
            ("relay", "--listen=127.0.0.1:8650", "--http-port=8650"),
            "--http-port: expected another than --listen's, got 8650 twice",
        ),
        (("detect", "a.jpg", "--token=gone"), "--token gone: No such file or directory"),
        (
            ("detect", "a.jpg", "--ca=gone"),
            "--ca gone: expected a PEM file with a certificate (no such file or directory)",
        ),
        (("detect", "a.jpg", "--max-age=-1"), "max_age: expected 0 to 3600 seconds, got -1"),
        (("rollout", "start", "--steps=50,20"), "--steps: expected rising percentages from 0 to 100, got 50, 20"),
        (("rollout", "abort", "--folder=text.pt"), "text.pt: no rollout runs here"),
        (("detect", "a.jpg", "--imgsz=-3"), "imgsz: expected 0 to 65535, got -3"),
        (("detect", "a.jpg", "--wait=0"), "wait: expected more than 0 seconds, got 0"),
    ],
)  # fmt: skip
def test_commands_that_cannot_start(
    folder: Path, main: Main, arguments: tuple[str, ...], message: str
) -> None:
    done = main(*arguments, cwd=folder)
    assert done.code == 1
    assert done.error_line == f"sightline: {message}"
    assert done.out == ""


def test_a_text_file_as_weights(folder: Path) -> None:
    done = sightline("export", "--weights=text.pt", "--out=x", cwd=folder)
    assert (done.code, done.out) == (1, "")
    assert done.error_line == (
        "sightline: text.pt is not a .pt file of YOLOv8 weights, or it is damaged (5 bytes)"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bad.mp4", "cannot read bad.mp4 as a video: is it one, and whole?"),
        ("empty.mp4", "cannot read empty.mp4 as a video: is it one, and whole?"),
        ("gone.mp4", "no such file or folder: 'gone.mp4'"),
        ("no*.jpg", "no files match no*.jpg"),
        ("empty", "no images in empty: expected files with one of the endings .bmp .jpeg .jpg .png .tif .tiff .webp"),
        ("synthetic:colour=red", "synthetic camera: what is 'colour=red'? expected"),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_read(folder: Path, relay: str, source: str, message: str) -> None:
    done = sightline("detect", source, f"--relay={relay}", cwd=folder)
    assert done.code == 1
    assert done.out.count("\n") == 1
    assert done.last_line.startswith(f"failed    {message}")


def test_a_dead_rtsp_camera(relay: str, nobody: str) -> None:
    done = sightline("detect", f"rtsp://admin:hunter2@{nobody}/stream", f"--relay={relay}")
    assert done.code == 1
    assert done.out.count("\n") == 1
    assert done.last_line == (
        f"failed    cannot open rtsp://***@{nobody}/stream: no answer or no video there; "
        "check its address and password"
    )


@pytest.mark.parametrize("option", ["relay", "server"])
@pytest.mark.parametrize("source", ["a.jpg", "synthetic:size=160x120"])
def test_a_target_that_is_not_there(folder: Path, nobody: str, option: str, source: str) -> None:
    done = sightline("detect", source, f"--{option}={nobody}", "--wait=1", cwd=folder)
    assert done.code == 1
    counts = counts_of(done.out)
    assert counts.captured == counts.dropped
    assert set(counts.reasons) <= {"unsent", "shutdown"}
    who, start, reason = {
        "relay": ("relay", "sightline relay", "Connection refused"),
        "server": ("model server", "sightline serve", "cannot connect"),
    }[option]
    assert done.last_line == (
        f"failed    cannot reach the {who} at {nobody} (no answer: {reason}): "
        f"start it with `{start}`, or name it with --{option}"
    )


@pytest.mark.parametrize("way", ["server", "relay"])
def test_a_model_that_is_not_served(folder: Path, server: ModelServer, spawn: Spawn, way: str) -> None:
    if way == "server":
        options = [f"--server={server.target}", "--model-name=nosuch"]
    else:
        (port,) = free_ports(1)
        start_relay(spawn, server.target, port, "--model-name=nosuch", ready=False)
        options = [f"--relay=127.0.0.1:{port}"]
    done = sightline("detect", "a.jpg", *options, cwd=folder)
    assert done.code == 1
    assert done.last_line == (
        "failed    no frame was delivered: NOT_FOUND: Servable not found for request: Latest(nosuch); "
        "is a model of this name served there? See --model-name"
    )


def test_a_relay_whose_server_is_not_there(folder: Path, nobody: str, spawn: Spawn) -> None:
    (port,) = free_ports(1)
    start_relay(spawn, nobody, port, ready=False)
    done = sightline("detect", "a.jpg", f"--relay=127.0.0.1:{port}", cwd=folder)
    assert done.code == 1
    assert counts_of(done.out).errored == 1
    assert done.last_line.startswith("failed    no frame was delivered: UNAVAILABLE: ")
    assert done.last_line.endswith("; is the model server running?")


def test_targets_that_are_something_else(folder: Path, server: ModelServer, relay: str) -> None:
    for option, target, what in (
        ("relay", server.target, "Sightline relay"),
        ("server", relay, "model server"),
    ):
        done = sightline("detect", "a.jpg", f"--{option}={target}", cwd=folder)
        assert done.code == 1
        assert done.last_line.startswith(f"failed    {target}: UNIMPLEMENTED: ")
        assert done.last_line.endswith(f"(this is no {what})")


def test_a_relays_taken_port(relay: str) -> None:
    done = sightline("relay", f"--listen={relay}")
    assert done.code == 1
    assert done.error_line.endswith(
        f"cannot listen on {relay}: Address already in use; choose another with --listen"
    )


def test_a_videos_end_that_is_cut_off(folder: Path, relay: str) -> None:
    """What can be read of it is delivered."""
    rng = np.random.default_rng(0)
    path = folder / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    for _ in range(20):
        writer.write(rng.integers(0, 256, (240, 320, 3), np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    done = sightline("detect", path, f"--relay={relay}", "--every-frame")
    assert (done.code, done.err) == (0, "")
    counts = counts_of(done.out)
    assert 5 <= counts.delivered <= 15
    assert counts.delivered == counts.captured


# --- usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("detect",), "expected one or more, or --config"),
        (("detect", "a.jpg", "--nosuch"), "No such option: --nosuch"),
        (("detect", "a.jpg", "--conf", "much"), "Invalid value for '--conf'"),
        (("export", "--out", "x"), "Missing option '--weights'"),
        (("bench", "nosuch"), "No such command 'nosuch'"),
    ],
)
def test_usage_errors(tmp_path: Path, main: Main, arguments: tuple[str, ...], named: str) -> None:
    done = main(*arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert named in done.err
    assert "--help" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command", [(), ("--help",), ("detect", "--help"), ("up", "--help"), ("bench", "--help")]
)
def test_help_is_there(tmp_path: Path, main: Main, command: tuple[str, ...]) -> None:
    done = main(*command, cwd=tmp_path)
    assert "Usage: " in done.out + done.err
    assert "Traceback" not in done.err
    assert done.code == (0 if command else 2)


# --- missing extras ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("tensorflow", "serving", ("serve", "--port=0", "--grpc_socket_path=s", "--model_base_path=/no")),
        ("uvicorn", "serving", ("serve", "--port=0", "--grpc_socket_path=s", "--model_base_path=/no")),
        ("torch", "export", ("export", "--weights=demo", "--out=x")),
        ("ultralytics", "export", ("export", "--weights=demo", "--out=x")),
        ("tensorflow", "serving", ("export", "--weights=demo", "--out=x")),
        ("onnxruntime", "bench", ("bench", "engine")),
    ],
)
def test_a_package_that_is_not_installed(
    tmp_path: Path, package: str, extra: str, arguments: tuple[str, ...]
) -> None:
    """A module that cannot be found stands before the installed one."""
    (tmp_path / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    )
    done = sightline(*arguments, cwd=tmp_path, PYTHONPATH=prepended(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    *log, last = done.err.splitlines()
    assert not log or package == "uvicorn"  # a server logs, and TensorFlow came first
    assert last == f"sightline: {package} is not installed: in Sightline's folder, pip install '.[{extra}]'"


def prepended(folder: Path) -> str:
    """PYTHONPATH with `folder` first."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def test_ctrl_c_while_the_command_itself_is_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    done = sightline("--version", cwd=tmp_path, PYTHONPATH=prepended(tmp_path))
    assert (done.code, done.out, done.err) == (130, "", "")
