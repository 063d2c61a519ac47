import os
import random
import re
import socket
import threading
import time
from collections.abc import Container, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from client import DetectionStream, StreamConfig, sources
from client.sources import (
    ImageSource,
    LiveSource,
    SourceError,
    SourceOptions,
    SyntheticSource,
    VideoSource,
    check_source,
    open_source,
)
from client.sources import live as live_module
from client.sources import video as video_module
from client.sources.capture import quiet, retrieve
from client.sources.header import read_header
from client.sources.images import decode
from client.types import Frame
from model.street import read_stamp
from tests.client.fakes import FakeRelay, done
from tests.client.media import jpeg, number_of, picture, png, write_video

EVERY = SourceOptions(every_frame=True)


def numbers(frames: Iterator[Frame]) -> list[int]:
    return [number_of(frame.image_bgr) for frame in frames if frame.image_bgr is not None]


# --- video files ------------------------------------------------------------------------------------------


def test_a_video_gives_each_frame_once(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.mp4", frames=7)), EVERY)
    frames = list(source.frames())
    assert numbers(iter(frames)) == list(range(7))
    assert [frame.frame_id for frame in frames] == list(range(7))
    assert {frame.camera_id for frame in frames} == {"clip"}
    assert not source.live
    assert source.fps == 50
    first = frames[0].image_bgr
    assert first is not None
    assert first.shape == (64, 96, 3)
    assert first.dtype == np.uint8


def test_a_video_keeps_its_own_rate(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.mp4", frames=11, fps=20)))
    assert source.live
    started = time.monotonic()
    frames = list(source.frames())
    assert len(frames) == 11
    assert 0.5 <= time.monotonic() - started < 0.9
    gaps = np.diff([frame.captured_s for frame in frames])
    assert gaps.mean() == pytest.approx(0.05, rel=0.1)


def test_a_time_lapse_keeps_its_rate_too(tmp_path: Path) -> None:
    assert open_source(str(write_video(tmp_path / "clip.mp4", frames=2, fps=0.1))).fps == pytest.approx(0.1)


@pytest.mark.parametrize(("stride", "expected"), [(1, 10), (3, 4), (10, 1), (11, 1)])
def test_vid_stride_takes_each_nth_frame(tmp_path: Path, stride: int, expected: int) -> None:
    path = write_video(tmp_path / "clip.mp4")
    source = open_source(str(path), SourceOptions(vid_stride=stride, every_frame=True))
    assert numbers(source.frames()) == list(range(0, 10, stride))[:expected]
    assert source.fps == pytest.approx(50 / stride)


def test_a_looped_video_begins_again_and_closes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", frames=3)
    source = open_source(str(path), SourceOptions(every_frame=True, loop=True))
    frames = list(islice(source.frames(), 7))
    assert numbers(iter(frames)) == [0, 1, 2, 0, 1, 2, 0]
    assert [frame.frame_id for frame in frames] == list(range(7))


def test_close_ends_a_paced_video_at_once(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.mp4", frames=5, fps=50)), SourceOptions(fps=0.2))
    frames = source.frames()
    next(frames)
    threading.Timer(0.1, source.close).start()
    started = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - started < 1


def test_the_street_video_has_its_frames() -> None:
    video = os.environ.get("SIGHTLINE_STREET_VIDEO")
    if not video:
        pytest.skip("SIGHTLINE_STREET_VIDEO names no street video")
    source = open_source(video, SourceOptions(every_frame=True, vid_stride=100))
    frames = list(source.frames())
    assert len(frames) == 8  # of 795
    assert frames[0].image_bgr is not None
    assert frames[0].image_bgr.shape == (360, 480, 3)
    assert source.fps == pytest.approx(0.1)


# --- what cannot be opened --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p / "none.mp4", "no such file"),
        (lambda p: p / "none-*.jpg", "no files match"),
        (lambda p: p, "no images in"),
        (lambda p: p / "text.mp4", "as a video"),
        (lambda p: p / "empty.mp4", "as a video"),
        (lambda p: p / "headless.mp4", "as a video"),
        (lambda p: p / ("x" * 400), "cannot open"),
        (lambda p: "ftp://u:pw@host/x", "expected one of"),
        (lambda p: "", "no such file"),
        (lambda p: "/dev/null", "neither"),
        (lambda p: "a\0b", "no such file"),
        (lambda p: "97", "no such camera"),
        (lambda p: "synthetic:speed=3", "expected synthetic"),
        (lambda p: "synthetic:fps=x", "no number"),
        (lambda p: "synthetic:fps=nan", "fps must be"),
        (lambda p: "synthetic:size=10x10", "at least"),
        (lambda p: "synthetic:size=99999x720", "sides must be"),
        (lambda p: "synthetic:seed=-1", "seed"),
    ],
)
def test_what_cannot_be_opened_says_so_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: object, says: str
) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # without the index at its end
    with pytest.raises(SourceError) as caught:
        open_source(str(make(tmp_path)))  # type: ignore[operator]
    message = str(caught.value)
    with pytest.raises(SourceError, match=re.escape(message)):
        check_source(str(make(tmp_path)))  # type: ignore[operator]
    assert says in message
    assert "\n" not in message
    assert "pw" not in message
    assert capfd.readouterr() == ("", "")  # OpenCV and FFmpeg keep quiet


@pytest.mark.parametrize(
    "spec",
    [
        "rtsp:/admin:hunter2@cam/s", "rtsp//admin:hunter2@cam/s", "admin:hunter2@cam/s", " rtsp://admin:hunter2@cam/s",
        "admin:hunter2@cam/*.jpg", "admin:hunter2@cam/" + "x" * 5000,
    ],
)  # fmt: skip
def test_a_mistyped_urls_password_is_not_shown(spec: str) -> None:
    with pytest.raises(SourceError, match=r"\*\*\*@cam/") as told:
        open_source(spec)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("path", ["/stream", "/stream.mp4"])
def test_a_silent_network_camera_is_given_up_in_time(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://admin:hunter2@127.0.0.1:{silent.getsockname()[1]}{path}"
        started = time.monotonic()
        with pytest.raises(SourceError) as caught:
            open_source(url, SourceOptions(open_timeout_s=0.5))
        assert time.monotonic() - started < 3
        check_source(url)  # the network is left alone
        assert time.monotonic() - started < 3
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_refusing_network_camera_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@127\.0\.0\.1"):
        open_source(f"rtsp://admin:hunter2@127.0.0.1:{port}/s")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "options",
    [
        {"vid_stride": 0},
        {"fps": 0.0},
        {"fps": -1.0},
        {"fps": float("nan")},
        {"fps": 1e9},
        {"open_timeout_s": 0.0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SourceOptions(**options)  # type: ignore[arg-type]


# --- cameras that come and go -----------------------------------------------------------------------------


class Script:
    """Stands for OpenCV's capture: each connection gives so many frames, None refuses to open."""

    def __init__(self, *connections: int | None) -> None:
        self.connections = list(connections)
        self.opened = 0

    def open(self) -> cv2.VideoCapture | None:
        self.opened += 1
        left = self.connections.pop(0) if self.connections else None
        return None if left is None else cast(cv2.VideoCapture, Capture(left))


class Capture:
    backend = "FFMPEG"

    def __init__(self, left: int, broken: Container[int] = ()) -> None:
        self.left, self.broken = left, broken
        self.size_wh = (96 + 2 * left, 64)

    def getBackendName(self) -> str:
        return self.backend

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        if self.left in self.broken:
            return False, None
        return True, picture(0, self.size_wh)

    def get(self, _what: int) -> float:
        return 30.0

    def release(self) -> None:
        pass


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(live_module, "LONGEST_WAIT_S", 0.04)


@pytest.mark.usefixtures("hasty")
def test_a_camera_that_goes_away_is_opened_again() -> None:
    script = Script(2, None, None, 3, 1)
    source = LiveSource("door", "door", script.open, SourceOptions(), "hint")
    frames = list(islice(source.frames(), 6))
    assert [frame.frame_id for frame in frames] == list(range(6))  # ids go on
    assert [cast(np.ndarray, frame.image_bgr).shape[1] for frame in frames] == [100, 100, 102, 102, 102, 98]
    assert script.opened == 5
    assert source.reconnects == 2
    assert source.state == "streaming"


class Waits(threading.Event):
    """Ends each pause at once, and keeps how long it should have been."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked_s.append(timeout or 0.0)
        return True


def test_pauses_grow_while_a_camera_refuses_and_begin_again_after_a_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    script = Script(None, None, None, None, None, None, None, None, 1, None, 0, 1)
    source = LiveSource("door", "door", script.open, SourceOptions(patient=True), "hint")
    source._go_on = waits = Waits()
    frames = source.frames()
    next(frames)
    refused = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert waits.asked_s == refused
    assert source.reconnects == 0  # it had not been there before
    next(frames)
    assert waits.asked_s == [*refused, 0.5, 1, 2]  # gone, refused, there without a frame
    assert source.reconnects == 1
    source.close()
    assert list(frames) == []
    assert source.reconnects == 1


def test_a_frame_that_cannot_be_decoded_is_an_error_and_not_lost() -> None:
    capture = Capture(5, broken={3})
    source = LiveSource("door", "door", lambda: cast(cv2.VideoCapture, capture), SourceOptions(), "hint")
    frames = list(islice(source.frames(), 5))
    assert [frame.frame_id for frame in frames] == list(range(5))
    assert [frame.image_bgr is None for frame in frames] == [False, True, False, False, False]
    with FakeRelay(done) as relay:
        source = LiveSource(
            "door", "door", lambda: cast(cv2.VideoCapture, Capture(5, range(9))), SourceOptions(), "hint"
        )
        with DetectionStream(source, relay.target, StreamConfig(max_age_s=0)) as stream:
            result = next(result for result in stream if result.error)
    assert str(result.error).startswith("INVALID_ARGUMENT: the frame cannot be decoded")
    assert stream.account.balanced


@pytest.mark.usefixtures("hasty")
def test_a_camera_of_which_nothing_can_be_decoded_is_opened_again_with_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    opened: list[Capture] = []

    def open_capture() -> cv2.VideoCapture:
        opened.append(Capture(10**6, broken=range(10**6)))
        return cast(cv2.VideoCapture, opened[-1])

    options = SourceOptions(read_timeout_s=0.02)
    source = LiveSource("door", "door", open_capture, options, "hint")
    source._go_on = waits = Waits()
    states = set()
    for frame in source.frames():
        assert frame.image_bgr is None
        states.add(source.state)
        if len(opened) == 4:
            break
    assert states == {"connecting"}
    assert waits.asked_s == [0.01, 0.02, 0.04]
    assert source.reconnects == 0


def test_a_video_keeps_the_place_of_a_frame_that_cannot_be_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(99))
    monkeypatch.setattr(
        video_module, "retrieve", lambda capture: None if next(calls) == 2 else retrieve(capture)
    )
    frames = list(open_source(str(write_video(tmp_path / "clip.mp4", frames=5)), EVERY).frames())
    assert [frame.frame_id for frame in frames] == list(range(5))
    assert [frame.image_bgr is None for frame in frames] == [False, False, True, False, False]


@pytest.mark.usefixtures("hasty")
def test_a_dead_camera_is_an_error_unless_one_is_patient() -> None:
    with pytest.raises(SourceError, match="cannot open door: hint"):
        LiveSource("door", "door", Script(None).open, SourceOptions(), "hint")
    source = LiveSource("door", "door", Script(None, None, 1).open, SourceOptions(patient=True), "hint")
    assert source.state == "connecting"
    assert len(list(islice(source.frames(), 1))) == 1


def test_close_ends_a_camera_that_backs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT_S", 30.0)
    source = LiveSource("door", "door", Script().open, SourceOptions(patient=True), "hint")
    threading.Timer(0.2, source.close).start()
    started = time.monotonic()
    assert list(source.frames()) == []
    assert time.monotonic() - started < 2
    assert source.state == "closed"


def test_a_camera_is_thinned_to_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(live_module, "grab", lambda _: (next(clock) / 30, 0.0))  # 30 frames a second
    source = LiveSource("door", "door", Script(300).open, SourceOptions(fps=10), "hint")
    times = [frame.captured_s for frame in islice(source.frames(), 50)]
    assert np.diff(times) == pytest.approx(np.full(49, 0.1), abs=1e-6)


class Webcam(Capture):
    """Its driver's stamps are so much behind the monotonic clock."""

    backend = "V4L2"

    def __init__(self, behind_s: float) -> None:
        super().__init__(1)
        self.behind_s = behind_s

    def get(self, what: int) -> float:
        return (time.monotonic() - self.behind_s) * 1e3 if what == cv2.CAP_PROP_POS_MSEC else 30.0


@pytest.mark.parametrize(
    ("behind_s", "believed"), [(0.05, True), (-0.5, False), (3600.0, False), (-1e9, False)]
)
def test_a_webcams_frame_is_as_old_as_its_driver_says(behind_s: float, believed: bool) -> None:
    webcam = Webcam(behind_s)
    source = LiveSource("door", "door", lambda: cast(cv2.VideoCapture, webcam), SourceOptions(), "hint")
    before_s, before_ns = time.monotonic(), time.time_ns()
    frame = next(source.frames())
    if believed:
        assert before_s - behind_s <= frame.captured_s < time.monotonic() - behind_s
        assert behind_s - 1e-3 < frame.read_s - frame.captured_s < behind_s + 1
        assert frame.read_s <= frame.decoded_s
        assert frame.captured_unix_ns < before_ns + (time.monotonic() - before_s - behind_s + 0.01) * 1e9
    else:
        assert frame.read_s == 0
        assert before_s <= frame.captured_s <= frame.decoded_s


class Decoder(Capture):
    """Waits, then works, as FFmpeg does."""

    def grab(self) -> bool:
        time.sleep(0.1)
        done_s = time.thread_time() + 0.03
        while time.thread_time() < done_s:
            pass
        return True


def test_a_network_cameras_frame_is_as_old_as_the_work_on_it_and_not_the_wait_for_it() -> None:
    decoder = cast(cv2.VideoCapture, Decoder(1))
    before_s = time.monotonic()
    frame = next(LiveSource("door", "door", lambda: decoder, SourceOptions(), "hint").frames())
    assert frame.captured_s - before_s >= 0.1
    assert frame.decoded_s - frame.captured_s >= 0.03
    assert frame.read_s == 0


def test_a_camera_that_gives_nothing_any_more_is_left_without_a_word_of_opencvs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    part = b"--f\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(picture()) + b"\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
                    + 20 * part
                )
                connection.recv(65536)
                connection.recv(65536)  # until the camera is left

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        source = cast(LiveSource, open_source(url, SourceOptions(read_timeout_s=0.5)))
        frames = source.frames()
        next(frames)
        threading.Timer(0.2, source.close).start()
        list(frames)
    assert capfd.readouterr() == ("", "")


def test_threads_that_want_opencv_quiet_leave_its_log_as_it_was() -> None:
    level = cv2.utils.logging.getLogLevel()
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    second.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == level


def test_a_real_stream_over_http_comes_back(tmp_path: Path, hasty: None) -> None:
    """A camera's MJPEG over HTTP, twice cut off after a few frames."""
    body = b"".join(b"--f\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(picture(i)) + b"\r\n" for i in range(8))
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                with server.accept()[0] as client:
                    client.recv(4096)
                    client.sendall(head + body)

        thread = threading.Thread(target=serve)
        thread.start()
        source = open_source(f"http://127.0.0.1:{server.getsockname()[1]}/live")
        assert isinstance(source, LiveSource)
        frames = list(islice(source.frames(), 12))  # more than one connection gives
        thread.join()
    assert [frame.frame_id for frame in frames] == list(range(12))
    assert source.reconnects >= 1


# --- images -----------------------------------------------------------------------------------------------


def test_a_folder_passes_files_on_as_they_are(tmp_path: Path) -> None:
    files = {
        "a.jpg": jpeg(picture(1)), "b.PNG": png(picture(2)), "c.jpeg": b"\xff\xd8\xff broken", "d.jpg": b"",
        "e.jpg": b"no picture at all",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    source = open_source(str(tmp_path))
    assert isinstance(source, ImageSource)
    assert not source.live
    frames = list(source.frames())
    assert [Path(frame.name).name for frame in frames] == sorted(files)
    assert [frame.jpeg for frame in frames] == [files[name] for name in sorted(files)]
    assert all(frame.image_bgr is None for frame in frames)


def test_other_formats_are_decoded(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.bmp"), picture(3))
    (frame,) = open_source(str(tmp_path / "a.bmp")).frames()
    assert frame.jpeg is None
    assert frame.image_bgr is not None
    assert number_of(frame.image_bgr) == 3


def test_an_image_without_a_known_ending_is_found_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(jpeg(picture()))
    (frame,) = open_source(str(tmp_path / "photo")).frames()
    assert frame.jpeg == (tmp_path / "photo").read_bytes()


def test_globs_loops_and_slide_shows(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b1.jpg", "b2.jpg", "deep/b3.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(jpeg(picture()))
    assert len(list(open_source(str(tmp_path / "b*.jpg")).frames())) == 2
    assert len(list(open_source(str(tmp_path / "**" / "b?.jpg")).frames())) == 3
    looped = open_source(str(tmp_path / "b*.jpg"), SourceOptions(loop=True))
    assert [frame.frame_id for frame in islice(looped.frames(), 5)] == list(range(5))
    show = open_source(str(tmp_path / "b*.jpg"), SourceOptions(fps=20))
    assert show.live
    started = time.monotonic()
    assert len(list(show.frames())) == 2
    assert time.monotonic() - started >= 0.04


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_jpeg_that_exif_says_to_turn_is_turned(tmp_path: Path, order: str) -> None:
    half = picture(0, (96, 64))
    half[:, :48] = 250  # the left half is bright
    (tmp_path / "turned.jpg").write_bytes(jpeg(half, orientation=6, order=order))
    (frame,) = open_source(str(tmp_path / "turned.jpg")).frames()
    assert frame.image_bgr is not None
    assert frame.image_bgr.shape == (96, 64, 3)
    assert frame.image_bgr[:40].mean() > 200  # turned clockwise: the left is the upper side
    assert frame.image_bgr[-40:].mean() < 60


def test_headers() -> None:
    image = picture(0, (33, 17))
    for data in (jpeg(image), png(image), jpeg(image, 8)):
        header = read_header(data)
        assert header is not None
        assert header.size_wh == (33, 17)
    assert read_header(jpeg(image, 8)) != read_header(jpeg(image))
    assert read_header(b"") is None
    assert read_header(b"GIF89a") is None


@pytest.mark.parametrize("make", [jpeg, png, lambda image: jpeg(image, 6), lambda image: jpeg(image, 3, ">")])
def test_a_damaged_header_is_no_crash(make: object) -> None:
    data = make(picture())  # type: ignore[operator]
    random = np.random.default_rng(0)
    for length in range(min(len(data), 300)):
        read_header(data[:length])
    for _ in range(2000):
        damaged = bytearray(data)
        for where in random.integers(0, min(len(data), 300), 4):
            damaged[where] = random.integers(256)
        read_header(bytes(damaged))


def test_a_bomb_is_not_decoded() -> None:
    data = bytearray(jpeg(picture()))
    where = data.index(b"\xff\xc0")
    data[where + 5 : where + 9] = b"\xff\xdc\xff\xdc"  # 65,500 x 65,500
    assert read_header(bytes(data)) is not None
    assert decode(bytes(data)) is None


# --- the synthetic camera ---------------------------------------------------------------------------------


def test_the_synthetic_camera_stamps_its_frames_and_knows_the_truth() -> None:
    source = open_source("synthetic:seed=3,fps=10,size=640x360,frames=4", EVERY)
    assert isinstance(source, SyntheticSource)
    assert source.camera_id == "synthetic-3"
    frames = list(source.frames())
    assert len(frames) == 4
    for number, frame in enumerate(frames):
        assert frame.image_bgr is not None
        stamp = read_stamp(frame.image_bgr)
        assert stamp is not None
        assert (stamp.frame_id, stamp.time_unix_ns) == (number, frame.captured_unix_ns)
        truth = source.truth(number)
        assert truth is not None
        assert truth.boxes.shape == (len(truth.labels), 4)
        assert len(truth.labels) > 0
        ymin, xmin, ymax, xmax = truth.boxes.T
        assert ((ymin >= 0) & (ymin < ymax) & (ymax <= 1) & (xmin >= 0) & (xmin < xmax) & (xmax <= 1)).all()
    assert source.truth(99) is None


@pytest.mark.alone
def test_the_synthetic_camera_keeps_its_rate() -> None:
    source = open_source("synthetic:fps=50,size=160x120,frames=11")
    assert source.live
    times = [frame.captured_s for frame in source.frames()]
    assert times[-1] - times[0] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("name", ["clip.mp4", "0", "synthetic"])
def test_a_path_is_a_file_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_video(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        with closing(open_source(path)) as source:
            assert isinstance(source, VideoSource)
            assert source.camera_id == Path(name).stem
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(Path("none.mp4"))


@pytest.mark.parametrize("spec", [0, None, b"clip.mp4"])
def test_what_names_no_source_is_told_in_words(spec: object) -> None:
    message = f'source: expected a text or a path, got {spec!r}; the first webcam is "0"'
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        open_source(spec)  # type: ignore[arg-type]


def test_all_kinds_are_sources(tmp_path: Path) -> None:
    """Each has what a stream asks for."""
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    specs = [
        str(write_video(tmp_path / "v.mp4")),
        str(tmp_path / "a.jpg"),
        "synthetic:size=160x120",
        "rtsp://h/s",
    ]
    for spec in specs:
        source: sources.OpenedSource = open_source(spec, SourceOptions(patient=True), "mine")
        assert source.camera_id == "mine"
        assert isinstance(source.live, bool)
        assert source.fps > 0
        source.close()
        source.close()
        assert list(source.frames()) == []
