"""A real RTSP camera: H.264 from GStreamer's server behind a password, that is killed, stopped and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from client import DetectionStream, Result, SourceOptions, Status, StreamConfig, open_source
from client.errors import SourceError
from client.sources import live
from client.sources.capture import open_url
from client.sources.live import CameraState
from model.child import bound
from tests.client.fakes import FakeModelServer, RelayThread, response_of
from tests.client.media import number_of, picture

av = pytest.importorskip("av", reason="PyAV is not installed")

pytestmark = pytest.mark.timeout(240)
DEBIANS_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_camera.py")
FPS, FRAMES, WAIT_S = 25, 1500, 60  # a minute of video, which encodes in a second


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    """Skip where its RTSP server is not installed."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        there = (
            subprocess.run([DEBIANS_PYTHON, "-c", check], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        there = False
    if not there:
        pytest.skip(
            "GStreamer's RTSP server is not installed (Debian: gir1.2-gst-rtsp-server-1.0 python3-gi)"
        )


def write_h264(path: Path, size_wh: tuple[int, int]) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": str(FPS)})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for number in range(FRAMES):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, size_wh), format="bgr24")))
        file.mux(stream.encode())
    return path


class RtspCamera:
    """The server; `port` stays the same over `kill` and `start`."""

    def __init__(self) -> None:
        self.port = 0

    def start(self, video: Path) -> None:
        command = [DEBIANS_PYTHON, str(SERVER), str(video), str(self.port)]
        self.process = subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def url(self, password: str = "hunter2") -> str:
        return f"rtsp://user:{password}@127.0.0.1:{self.port}/stream"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_h264(tmp_path / "small.mp4", (96, 64))


@pytest.fixture
def camera(video: Path) -> Iterator[RtspCamera]:
    camera = RtspCamera()
    camera.start(video)
    yield camera
    camera.kill()


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayThread]:
    with FakeModelServer(respond=lambda _: response_of(1)) as server, RelayThread(server.target) as running:
        yield running
    running.assert_balanced()


def wait_until(happened: Callable[[], object]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_no_frame_is_held_back_for_another_thread(camera: RtspCamera) -> None:
    """With N threads H.264 comes N - 1 frames late, and nobody could say how late it is."""
    capture = open_url(camera.url(), SourceOptions(), live=True)
    assert capture is not None
    assert capture.get(cv2.CAP_PROP_N_THREADS) == 1
    capture.release()


def test_it_streams_is_killed_and_comes_back_with_another_size(
    camera: RtspCamera,
    relay: RelayThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(live, "LONGEST_WAIT_S", 1.0)
    source = open_source(camera.url(), SourceOptions(), camera_id="door")
    assert isinstance(source, live.LiveSource)
    delivered: list[Result] = []
    with DetectionStream(source, relay.target, StreamConfig(max_age_s=5)) as stream:
        taker = threading.Thread(
            target=lambda: delivered.extend(one for one in stream if one.status is Status.DELIVERED)
        )
        taker.start()
        wait_until(lambda: len(delivered) >= 30)
        assert source.state is CameraState.STREAMING
        camera.kill()
        wait_until(lambda: source.state is CameraState.BACKING_OFF)
        gone = len(delivered)
        camera.start(write_h264(tmp_path / "large.mp4", (160, 96)))
        wait_until(lambda: len(delivered) >= gone + 30)
        assert source.reconnects >= 1
    taker.join()
    assert stream.account.balanced
    assert stream.account.errored == 0
    assert stream.reconnects == 0  # of the stream to the relay: it was there all the time
    shapes = [one.frame.image_bgr.shape for one in delivered if one.frame.image_bgr is not None]
    assert (shapes[0], shapes[-1]) == ((64, 96, 3), (96, 160, 3))
    frame = delivered[25].frame  # before the kill, the picture's number is its place in the video
    assert frame.image_bgr is not None
    assert number_of(frame.image_bgr) == frame.frame_id % 25
    ids = [one.frame.frame_id for one in delivered]
    assert ids == sorted(set(ids))
    assert "hunter2" not in "".join(capfd.readouterr())


def test_it_hangs_and_goes_on(
    camera: RtspCamera, relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, not killed: its connection is open and silent."""
    monkeypatch.setattr(live, "LONGEST_WAIT_S", 1.0)
    options = SourceOptions(open_timeout_s=2.0, read_timeout_s=3.0)
    source = open_source(camera.url(), options, camera_id="door")
    assert isinstance(source, live.LiveSource)
    with DetectionStream(source, relay.target, StreamConfig(max_age_s=5)) as stream:
        taker = threading.Thread(target=lambda: list(stream))
        taker.start()
        wait_until(lambda: stream.account.delivered >= 5)
        camera.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: source.state is CameraState.STALLED)
        wait_until(lambda: source.state is CameraState.BACKING_OFF)
        camera.process.send_signal(signal.SIGCONT)
        before = stream.account.delivered
        wait_until(lambda: stream.account.delivered >= before + 5)
    taker.join()
    assert stream.account.balanced


def test_the_password_is_needed_and_never_shown(
    camera: RtspCamera, relay: RelayThread, tmp_path: Path
) -> None:
    with pytest.raises(
        SourceError, match=rf"^cannot open rtsp://\*\*\*@127.0.0.1:{camera.port}/stream: "
    ) as wrong:
        open_source(camera.url("sesame"))
    assert "sesame" not in str(wrong.value)
    rows = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [
            sys.executable, "-m", "sightline", "detect", camera.url(), f"--relay={relay.target}", "--max-age=5",
            "--duration=1", f"--jsonl={rows}",
        ],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert " delivered" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr + rows.read_text()
