import json
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from client.sinks import (
    AnnotatedImages,
    AnnotatedVideo,
    JsonLines,
    QueuedSink,
    Sink,
    SinkError,
    Table,
    close_all,
)  # fmt: skip
from client.sinks.jsonl import rfc3339
from client.sinks.video import fit
from client.types import Result
from model.child import bound
from tests.client.media import jpeg, picture, png
from tests.client.results import delivered, detections, dropped, errored, frame

PERSON = ("person", 0, 0.87654, (0.25, 0.5, 0.75, 1.0))


def read_video(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    images: list[NDArray[np.uint8]] = []
    while True:
        done, image = capture.read()
        if not done:
            return images
        images.append(np.asarray(image, np.uint8))


# --- JSON Lines -------------------------------------------------------------------------------------------


def test_json_lines_of_each_outcome(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    image = picture(0, (200, 100))
    with JsonLines(path) as sink:
        sink.write(delivered(frame(7, image_bgr=image), detections(PERSON), stages_ms={"encode": 1.23456}))
        assert path.read_bytes().endswith(b"}\n")  # there at once
        sink.write(dropped(frame(8)))
        sink.write(errored(frame(9, jpeg=jpeg(image), name="folder/a.jpg")))
        sink.write(delivered(frame(10)))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {
        "camera": "door", "frame_id": 7, "capture_time": "2026-01-31T12:00:00.123456Z",
        "capture_time_unix_ns": 1769860800123456789, "status": "delivered", "age_ms": 50.0, "width": 200,
        "height": 100, "model": "yolov8", "version": 1,
        "detections": [
            {
                "label": "person", "class_id": 0, "score": 0.8765, "box": [100.0, 25.0, 200.0, 75.0],
                "box_normalized": [0.5, 0.25, 1.0, 0.75],
            }
        ],
        "stages_ms": {"encode": 1.235},
    }  # fmt: skip
    assert (rows[1]["status"], rows[1]["reason"]) == ("dropped", "expired")
    assert (rows[2]["status"], rows[2]["error"]) == (
        "errored",
        "INVALID_ARGUMENT: image is neither JPEG nor PNG",
    )
    assert (rows[2]["file"], rows[2]["width"], rows[2]["height"]) == ("folder/a.jpg", 200, 100)
    assert rows[3]["detections"] == []
    assert "width" not in rows[3]


def test_json_lines_of_odd_values_are_json(tmp_path: Path) -> None:
    odd = detections(('línea\n\u2028"', 0, float("nan"), (float("nan"), -5.0, float("inf"), 2.0)))
    with JsonLines(tmp_path / "r.jsonl") as sink:
        sink.write(delivered(frame(jpeg=b"\xff\xd8\xff broken", name="\udcff.jpg"), odd))
    (line,) = (tmp_path / "r.jsonl").read_bytes().rstrip(b"\n").split(b"\n")
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row["detections"][0]["label"] == 'línea\n\u2028"'
    assert row["detections"][0]["box_normalized"] == [0.0, 0.0, 1.0, 1.0]


def test_json_lines_append_and_mend_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"frame_id": 0}\n{"frame_')
    for number in (1, 2):
        with JsonLines(path) as sink:
            sink.write(dropped(frame(number)))
    lines = path.read_bytes().splitlines()
    assert lines[:2] == [b'{"frame_id": 0}', b'{"frame_']
    assert [json.loads(line)["frame_id"] for line in lines[2:]] == [1, 2]


def test_json_lines_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    code = (
        "import itertools, sys; from client.sinks import JsonLines;"
        "from tests.client.results import frame, dropped\n"
        f"sink = JsonLines({str(path)!r})\n"
        "for i in itertools.count(): sink.write(dropped(frame(i)))"
    )
    with subprocess.Popen(bound([sys.executable, "-c", code]), cwd=Path(__file__).parents[2]) as process:
        end = time.monotonic() + 20
        while (not path.exists() or path.stat().st_size < 20_000) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    lines = path.read_bytes().split(b"\n")
    assert len(lines) > 50
    assert [json.loads(line)["frame_id"] for line in lines[:-1]] == list(range(len(lines) - 1))


def test_json_lines_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "r.jsonl"):
        with pytest.raises(SinkError, match="cannot write"):
            JsonLines(path)


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_769_860_799_999_999_999, "2026-01-31T11:59:59.999999Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_rfc3339(unix_ns: int, text: str) -> None:
    assert rfc3339(unix_ns) == text


# --- videos -----------------------------------------------------------------------------------------------


def test_a_video_holds_delivered_frames_with_boxes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "door.mp4"
    with AnnotatedVideo(path, 10, live=False) as sink:
        for number in range(5):
            image = picture(0, (320, 240))
            sink.write(
                delivered(frame(number, image_bgr=image), detections(PERSON) if number == 2 else detections())
            )
    images = read_video(path)
    assert [image.shape for image in images] == [(240, 320, 3)] * 5
    assert images[2].max() > 200  # the box
    assert max(images[i].max() for i in (0, 1, 3, 4)) < 40
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_video_keeps_the_cameras_time(tmp_path: Path) -> None:
    """Frames 2 and 3 are missing and frame 6 came early: the picture before stays, and the length is right."""
    times = {0: 0.0, 1: 0.1, 4: 0.4, 5: 0.5, 6: 0.51, 7: 0.7}
    with AnnotatedVideo(tmp_path / "a.mp4", 10, live=True) as sink:
        for number, seconds in times.items():
            sink.write(delivered(frame(number, captured_s=50 + seconds, image_bgr=picture(number))))
        sink.write(dropped(frame(8)))
    shown = [round(float(image.mean()) / 10) - 1 for image in read_video(tmp_path / "a.mp4")]
    assert shown == [0, 1, 1, 1, 4, 5, 6, 7]


def test_a_video_by_ids_and_with_a_long_gap(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 2, live=False) as sink:
        for number in (3, 5, 10_000):
            sink.write(delivered(frame(number, jpeg=jpeg(picture(number)))))
    assert len(read_video(tmp_path / "a.mp4")) == 3 + 1 + 20  # 10 s of still picture at most


def test_a_video_takes_frames_of_other_sizes(tmp_path: Path) -> None:
    sizes = [(320, 240), (640, 480), (100, 400), (1, 1), (33, 17)]
    with AnnotatedVideo(tmp_path / "a.mp4", 10, live=False) as sink:
        for number, size_wh in enumerate(sizes):
            sink.write(delivered(frame(number, image_bgr=picture(10, size_wh)), detections(PERSON)))
    images = read_video(tmp_path / "a.mp4")
    assert [image.shape for image in images] == [(240, 320, 3)] * 5
    assert images[2][:, :100].max() < 20  # black beside a tall picture
    assert images[2][:, 150:170].mean() > 90


def test_fit_keeps_the_shape() -> None:
    wide = fit(picture(20, (400, 100)), (200, 200))
    assert wide.shape == (200, 200, 3)
    rows = np.flatnonzero(wide.max(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (75, 124)


def test_an_odd_size_and_no_frames_at_all(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "odd.mp4", 10, live=False) as sink:
        sink.write(delivered(frame(image_bgr=picture(0, (101, 77)))))
    assert len(read_video(tmp_path / "odd.mp4")) == 1
    with AnnotatedVideo(tmp_path / "none.mp4", 10, live=False) as sink:
        sink.write(dropped(frame()))
        sink.write(delivered(frame(jpeg=b"broken")))
    assert not (tmp_path / "none.mp4").exists()


# --- images -----------------------------------------------------------------------------------------------


def test_images_keep_their_names(tmp_path: Path) -> None:
    image = picture(0, (160, 120))
    with AnnotatedImages(tmp_path / "out") as sink:
        sink.write(delivered(frame(0, jpeg=jpeg(image), name="a/x.jpg"), detections(PERSON)))
        sink.write(delivered(frame(1, jpeg=png(image), name="a/x.png"), detections(PERSON)))
        sink.write(delivered(frame(2, jpeg=jpeg(image), name="b/x.jpg")))
        sink.write(delivered(frame(3, image_bgr=image, name="a/y.bmp")))
        sink.write(delivered(frame(4, image_bgr=image)))
        sink.write(delivered(frame(5, jpeg=b"broken", name="broken.jpg")))
        sink.write(dropped(frame(6, name="z.jpg")))
        sink.write(delivered(frame(7, jpeg=jpeg(image), name="a/x.jpg")))  # again, as with loop
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["door-000004.jpg", "x-2.jpg", "x.jpg", "x.png", "y.jpg"]
    assert cv2.imread(str(tmp_path / "out" / "x.png")).max() > 200  # type: ignore[union-attr]
    assert cv2.imread(str(tmp_path / "out" / "x-2.jpg")).max() < 40  # type: ignore[union-attr]


def test_images_are_drawn_as_the_model_saw_them(tmp_path: Path) -> None:
    """A file with an Exif turn that was sent as it is must not be turned under its boxes."""
    with AnnotatedImages(tmp_path) as sink:
        sink.write(delivered(frame(jpeg=jpeg(picture(0, (160, 120)), orientation=6), name="a.jpg")))
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (120, 160, 3)  # type: ignore[union-attr]


# --- the queue --------------------------------------------------------------------------------------------


class Slow(Sink[int]):
    """Writes when it is let to; fails at a chosen frame."""

    name = "slow"

    def __init__(self, fail_at: int = -1) -> None:
        self.let = threading.Event()
        self.written: list[int] = []
        self.closed = 0
        self.fail_at = fail_at

    def prepare(self, result: Result) -> int | None:
        return result.frame.frame_id or None  # frame 0 is none of its

    def put(self, item: int) -> None:
        self.let.wait(20)
        if item == self.fail_at:
            raise OSError(28, "No space left on device")
        self.written.append(item)

    def close(self) -> None:
        self.closed += 1


def test_a_slow_sink_drops_and_counts_and_stalls_nobody() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 4)
    started = time.monotonic()
    for number in range(101):
        queued.write(dropped(frame(number)))
    assert time.monotonic() - started < 1
    slow.let.set()
    queued.close()
    queued.close()
    assert queued.written == len(slow.written) <= 5
    assert queued.written + queued.dropped["queue_full"] == 100
    assert slow.written[:4] == [1, 2, 3, 4]
    assert slow.closed == 1
    assert queued.error is None
    queued.write(dropped(frame(5)))  # too late
    assert queued.dropped["shutdown"] == 1


def test_a_waiting_sink_loses_nothing() -> None:
    slow = Slow()
    threading.Timer(0.2, slow.let.set).start()
    with QueuedSink(slow, 2, wait=True) as queued:
        for number in range(1, 51):
            queued.write(dropped(frame(number)))
    assert slow.written == list(range(1, 51))
    assert (queued.written, queued.dropped.total()) == (50, 0)


def test_a_failing_sink_is_named_and_given_up() -> None:
    slow = Slow(fail_at=3)
    slow.let.set()
    queued = QueuedSink(slow, 100)
    for number in range(1, 11):
        queued.write(dropped(frame(number)))
    queued.close()
    assert queued.error == "slow: No space left on device"
    assert (queued.written, queued.dropped) == (2, {"failed": 8})
    assert slow.closed == 1


def test_a_stuck_sink_is_left_behind_and_closed_when_it_comes_back() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 4)
    queued.write(dropped(frame(1)))
    while queued._items:
        time.sleep(0.001)  # until it writes the first
    for number in range(2, 6):  # the queue is full
        queued.write(dropped(frame(number)))
    started = time.monotonic()
    queued.close(timeout_s=0.3)
    assert time.monotonic() - started < 2
    assert queued.error == "slow: did not finish within 0.3 s"
    assert (queued.written, queued.dropped) == (0, {"shutdown": 5})  # the one that it writes, too
    slow.let.set()
    queued._thread.join(10)
    assert slow.closed == 1
    assert slow.written == [1]
    assert (queued.written, queued.dropped) == (0, {"shutdown": 5})  # it was counted and told
    queued.close()
    assert (slow.closed, queued.dropped.total()) == (1, 5)


def test_a_stuck_sink_takes_no_time_from_the_others() -> None:
    stuck, others = Slow(), [Slow(), Slow()]
    sinks = [QueuedSink(sink, 10) for sink in (stuck, *others)]
    for queued in sinks:
        queued.write(dropped(frame(1)))
    for other in others:
        threading.Timer(0.25, other.let.set).start()
    started = time.monotonic()
    close_all(sinks, timeout_s=1.0)
    assert time.monotonic() - started < 1.5
    assert [queued.error for queued in sinks] == ["slow: did not finish within 1 s", None, None]
    assert [(queued.written, queued.dropped.total()) for queued in sinks] == [(0, 1), (1, 0), (1, 0)]
    assert [other.closed for other in others] == [1, 1]
    stuck.let.set()


def test_a_writer_that_waits_goes_on_when_the_sink_is_given_up() -> None:
    slow = Slow()
    queued = QueuedSink(slow, 1, wait=True)
    writer = threading.Thread(target=lambda: [queued.write(dropped(frame(n))) for n in range(1, 6)])
    writer.start()
    while not queued._items:
        time.sleep(0.001)
    queued.close(timeout_s=0.1)
    writer.join(5)
    assert not writer.is_alive()
    assert queued.written + queued.dropped["shutdown"] + queued.dropped["failed"] == 5
    slow.let.set()


def test_a_full_disk_ends_json_lines_only() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    queued = QueuedSink(JsonLines("/dev/full"), 10)
    queued.write(dropped(frame()))
    queued.close()
    assert queued.error == "/dev/full: No space left on device"


def test_images_of_chosen_classes_at_most_so_often(tmp_path: Path) -> None:
    image, dog = picture(0, (160, 120)), ("dog", 5, 0.9, (0.0, 0.0, 0.5, 0.5))
    with AnnotatedImages(tmp_path, classes=("Dog", "2"), every_s=1.0) as sink:
        for number, (captured_s, found) in enumerate(
            [
                (0.0, PERSON),
                (0.1, dog),
                (0.5, dog),
                (1.2, dog),
                (9.0, PERSON),
                (9.1, ("car", 2, 0.9, (0, 0, 1, 1))),
            ]
        ):
            sink.write(
                delivered(frame(number, captured_s=100 + captured_s, image_bgr=image), detections(found))
            )
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["door-000001.jpg", "door-000003.jpg", "door-000005.jpg"]


# --- the table --------------------------------------------------------------------------------------------


def test_a_table_has_a_row_per_result() -> None:
    console = Console(file=StringIO(), width=40)
    with Table(console) as sink:
        sink.write(delivered(frame(7), detections(PERSON, PERSON, ("car", 2, 0.5, (0, 0, 1, 1)))))
        sink.write(delivered(frame(8)))
        sink.write(dropped(frame(9)))
        sink.write(errored(frame(10), "INTERNAL: \x1b[31mred"))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["time", "(UTC)", "camera", "frame", "age", "ms", "version", "found"]
    assert lines[1].split() == ["12:00:00.123", "door", "7", "50", "v1", "2", "person,", "1", "car"]
    assert lines[2].endswith("v1        nothing")
    assert lines[3].endswith("-         dropped: expired")
    assert lines[4].endswith("INTERNAL: ?[31mred")
    assert len(lines) == 5
