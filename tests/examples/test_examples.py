"""Each example as it stands, in a process of its own, against a relay and a model server that finds one person."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest

from client.sources.images import decode
from client.wire import relay_pb2 as pb
from client.wire import tfserving_pb2 as tfs
from model.child import bound
from tests.client.fakes import FakeModelServer, FakeRelay, RelayThread, response_of
from tests.client.media import jpeg, number_of, picture, write_video

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WAIT_S = (
    90  # a machine that others use takes long to start a process, and drops frames that are too old by then
)

pytestmark = pytest.mark.timeout(240)


class Walk(FakeModelServer):
    """Finds a person who goes from left to right while the pictures' numbers rise from 0 to 24."""

    def _predict(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        (image,) = tfs.PredictRequest.FromString(data).inputs["image_bytes"].string_val
        shown = decode(image)
        assert shown is not None
        boxes = np.zeros((1, 10, 4), np.float32)
        left = 0.8 * number_of(shown) / 24
        boxes[0, 0] = 0.2, left, 0.8, left + 0.2
        answer = tfs.PredictResponse.FromString(response_of(1, detection_boxes=boxes))
        answer.outputs["detection_classes_as_text"].string_val[0] = b"person"
        return bytes(answer.SerializeToString())


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    with Walk() as server, RelayThread(server.target) as thread:
        yield thread.target


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", frames=25, fps=25)


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        bound([sys.executable, *map(str, arguments)]),
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def output(*arguments: str | Path) -> str:
    """What a process says that ends by itself, and well."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, text=True, capture_output=True, timeout=WAIT_S
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def lines_until(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """Its lines up to one that is like `pattern`; then Ctrl-C, and the rest."""
    assert process.stdout is not None
    watchdog = threading.Timer(WAIT_S, process.kill)
    watchdog.start()
    lines = [next(process.stdout).rstrip()]
    while not re.fullmatch(pattern, lines[-1]):
        lines.append(next(process.stdout).rstrip())
    watchdog.cancel()
    return lines + interrupt(process).splitlines()


def interrupt(process: subprocess.Popen[str]) -> str:
    """Ctrl-C, which it must take well, and what it says from then on."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert err == ""
    assert process.returncode == 0
    return out


def test_webcam(relay: str) -> None:
    """A device of the tests stands in for the webcam."""
    code = (
        "import runpy, sys; import client.sources.live as live; from tests.client.media import Device;"
        "live.open_webcam = lambda index, options: Device().open();"
        f"sys.argv = ['webcam.py', {relay!r}];"
        f"runpy.run_path({str(EXAMPLES / 'webcam.py')!r}, run_name='__main__')"
    )
    with running("-c", code) as process:
        lines_until(process, r"\d+ \d+ ms person")


class Camera(BaseHTTPRequestHandler):
    """Motion JPEG over HTTP, as many network cameras give it, for whoever knows the password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic dXNlcjpodW50ZXIy":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(10_000):
            image = jpeg(picture(number % 25))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + image + b"\r\n")
            except OSError:
                return
            time.sleep(0.03)

    def log_message(self, *_: object) -> None:
        pass


def test_network_camera(relay: str) -> None:
    """The same code path as RTSP's, FFmpeg's, over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://user:hunter2@127.0.0.1:{server.server_port}/"
        with running(EXAMPLES / "rtsp.py", url, relay) as process:
            lines = lines_until(process, r"somebody is at the door, seen \d+ ms ago")
        server.shutdown()
    assert lines[-1].startswith("Account(captured=")


def test_folder(relay: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(jpeg(picture(number)))
    said = output(EXAMPLES / "folder.py", tmp_path / "in", tmp_path / "out", relay)
    assert "captured=3, delivered=3" in said
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [row["detections"][0]["label"] for row in rows] == ["person"] * 3
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3


def test_a_folder_into_itself_keeps_its_pictures(relay: str, tmp_path: Path) -> None:
    originals = {tmp_path / "x.jpeg": jpeg(picture(1)), tmp_path / "x.jpg": jpeg(picture(2))}
    for path, data in originals.items():
        path.write_bytes(data)
    output(EXAMPLES / "folder.py", tmp_path, tmp_path, relay)
    assert {path: path.read_bytes() for path in originals} == originals
    assert len(list(tmp_path.glob("x-*.jpg"))) == 2


def test_count_people(relay: str, video: Path) -> None:
    assert output(EXAMPLES / "count_people.py", video, relay) == "middle: 0 in, 1 out (1 person)\n"


def test_asyncio_app(relay: str) -> None:
    source = "synthetic:size=160x120,fps=30"
    with running(EXAMPLES / "asyncio_app.py", source, relay) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        seen: dict[str, object] = {"frames": 0}
        end = time.monotonic() + WAIT_S
        while not seen["frames"] and time.monotonic() < end:
            seen = json.load(urllib.request.urlopen(url, timeout=5))
            time.sleep(0.05)
        assert seen["objects"] == {"person": 1}
        interrupt(process)


@pytest.mark.parametrize(
    ("name", "said"), [("count_people.py", "middle: 0 in, 0 out"), ("folder.py", "Account(captured=")]
)
def test_ctrl_c_ends_what_would_end_by_itself(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(0)))
    came = threading.Event()

    def silent(_frame: pb.Frame) -> list[bytes]:
        came.set()
        return []

    with FakeRelay(silent) as relay:
        out = [tmp_path / "out"] if name == "folder.py" else []
        with running(EXAMPLES / name, tmp_path, *out, relay.target) as process:
            assert came.wait(WAIT_S)
            assert interrupt(process).startswith(said)


def test_the_readmes_library_example(relay: str, video: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert "127.0.0.1:8600" in code
    assert "clip.mp4" in code
    code = code.replace("127.0.0.1:8600", relay).replace("clip.mp4", str(video))
    lines = output("-c", code).splitlines()
    assert len(lines) == 25
    assert any("delivered" in line and "person" in line for line in lines)


def said_by(*arguments: str | Path) -> str:
    """What a process says on standard error that ends by itself, and badly."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, text=True, capture_output=True, timeout=WAIT_S
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("name", ["asyncio_app.py", "count_people.py", "folder.py", "rtsp.py"])
def test_a_source_that_is_not_there_and_none_at_all(name: str) -> None:
    assert said_by(EXAMPLES / name, "nothere.mp4", "out") == "no such file or folder: 'nothere.mp4'\n"
    assert f"python examples/{name}" in said_by(EXAMPLES / name)


def test_no_webcam() -> None:
    assert said_by(EXAMPLES / "webcam.py").startswith("cannot open webcam 0: ")


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in here or f"'{path.name}'" in here
    assert (EXAMPLES / "cameras.yaml").exists()  # tests/client/test_detect_file.py
