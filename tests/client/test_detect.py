"""Whole runs: sources through a relay to a model server that answers by rote, into sinks."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from rich.console import Console

from client import detect as detect_module
from client.age_control import AgeControl
from client.choose import Choice
from client.detect import run
from client.detect_config import configure
from client.errors import SinkError
from client.report import (
    CameraReport,
    SinkReport,
    Summary,
    outcome_text,
    printable,
    sink_text,
    versions_text,
)
from client.status import status_line, status_table
from client.tally import MAX_KINDS, RECENT_S, AgeHistogram, Tally
from client.types import Account
from model.child import bound
from tests.client.fakes import FakeModelServer, FakeRelay, RelayThread, done, response_of
from tests.client.media import jpeg, picture, write_video
from tests.client.results import NOTHING, delivered, detections, dropped, errored, frame


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    """Finds three things of class 3, scores 0.9, 0.8 and 0.7, in every picture."""
    with FakeModelServer(respond=lambda _number: response_of(3)) as fake:
        yield fake


@pytest.fixture(scope="module")
def relay(server: FakeModelServer) -> Iterator[RelayThread]:
    with RelayThread(server.target) as thread:
        yield thread


def text_console() -> Console:
    return Console(file=StringIO(), width=80)


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def detect(*sources: str | Path, stop: threading.Event | None = None, **options: Any) -> tuple[Summary, str]:
    """Run it; the summary and what was said. Conservation holds in every run."""
    console = text_console()
    cameras = [{"source": str(source)} for source in sources]
    summary = run(configure(cameras, options), console, stop)
    assert summary.account.balanced
    for camera in summary.cameras:
        assert camera.account.balanced
        assert camera.account.delivered == camera.tally.delivered
    assert "\x1b" not in text_of(console)
    return summary, text_of(console)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines; none where there is no file yet."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


# --- runs that go well ------------------------------------------------------------------------------------


def test_a_video_through_the_relay(relay: RelayThread, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", frames=20)
    summary, said = detect(
        video, relay=relay.target, every_frame=True, jsonl=str(tmp_path / "r.jsonl"), save=True,
        project=str(tmp_path / "runs"),
    )  # fmt: skip
    assert summary.exit_code == 0
    assert (summary.account.captured, summary.account.delivered) == (20, 20)
    assert summary.tally.detections == 60
    assert summary.tally.versions == {("yolov8", 1): 20}
    rows = rows_of(tmp_path / "r.jsonl")
    assert [row["frame_id"] for row in rows] == list(range(20))
    assert {row["status"] for row in rows} == {"delivered"}
    assert [found["score"] for found in rows[0]["detections"]] == [0.9, 0.8, 0.7]
    assert summary.save_dir == str(tmp_path / "runs" / "predict")
    assert cv2.VideoCapture(f"{summary.save_dir}/clip.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert "20 captured = 20 delivered + 0 errored + 0 dropped" in said
    assert "yolov8 v1" in said
    again, _ = detect(video, relay=relay.target, save=True, project=str(tmp_path / "runs"))
    assert again.save_dir.endswith("predict-2")


def test_several_sources_at_once_straight_to_a_server(server: FakeModelServer, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    video = write_video(tmp_path / "clip.mp4", frames=5)
    summary, said = detect(
        video, video, tmp_path / "a.jpg", "synthetic:size=160x120,frames=5", server=server.target
    )
    assert summary.exit_code == 0
    assert [camera.camera_id for camera in summary.cameras] == ["clip", "clip-2", "a", "synthetic-3"]
    assert [camera.account.captured for camera in summary.cameras] == [5, 5, 1, 5]
    assert all(camera.account.delivered for camera in summary.cameras)
    assert "clip-2" in said


def test_a_folder_with_a_corrupt_image_goes_on(relay: RelayThread, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in {"a.jpg": jpeg(picture()), "b.jpg": b"corrupt", "c.jpg": jpeg(picture())}.items():
        (folder / name).write_bytes(data)
    summary, said = detect(
        folder,
        relay=relay.target,
        jsonl=str(tmp_path / "r.jsonl"),
        save=True,
        project=str(tmp_path),
        name="out",
    )
    assert summary.exit_code == 0
    assert (summary.account.delivered, summary.account.errored) == (2, 1)
    rows = rows_of(tmp_path / "r.jsonl")
    assert [row["status"] for row in rows] == ["delivered", "errored", "delivered"]
    assert rows[1]["file"].endswith("b.jpg")
    assert "INVALID_ARGUMENT" in rows[1]["error"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "c.jpg"]
    assert "INVALID_ARGUMENT" in said


def test_cameras_of_nearly_one_name_have_a_video_each(relay: RelayThread, tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "clip.mp4", frames=3))
    options = {"relay": relay.target, "every_frame": True, "save": True, "project": str(tmp_path)}
    ids = ("hall/1", "hall_1")
    summary = run(configure([{"source": video, "id": name} for name in ids], options), text_console())
    assert summary.exit_code == 0
    for name in ("hall%2F1.mp4", "hall_1.mp4"):
        assert cv2.VideoCapture(f"{summary.save_dir}/{name}").get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_conf_and_classes_choose(relay: RelayThread, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    for options, found in (
        ({"conf": 0.75}, 2), ({"classes": ("3",)}, 3), ({"classes": ("Thing",)}, 3), ({"classes": ("0",)}, 0),
    ):  # fmt: skip
        summary, _ = detect(tmp_path / "a.jpg", relay=relay.target, **options)
        assert summary.tally.detections == found
        assert summary.exit_code == 0
    summary, said = detect(tmp_path / "a.jpg", relay=relay.target, classes=("persn",))
    assert "nothing was called persn; there were thing" in said
    _, said = detect(tmp_path / "a.jpg", relay=relay.target, snapshots=("thnig",), project=str(tmp_path))
    assert "nothing was called thnig; there were thing" in said


def test_objects_are_numbered_and_counted(relay: RelayThread, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", frames=6)
    everywhere = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    summary, said = detect(
        video, relay=relay.target, every_frame=True, zones={"yard": everywhere}, jsonl=str(tmp_path / "r.jsonl"),
        counts=str(tmp_path / "c.jsonl"), table=True, snapshots=("thing",), project=str(tmp_path),
    )  # fmt: skip
    assert summary.exit_code == 0
    for row in rows_of(tmp_path / "r.jsonl"):
        assert sorted(found["track_id"] for found in row["detections"]) == [1, 2, 3]
    assert rows_of(tmp_path / "c.jsonl")[0]["inside"] == {"thing": 3}
    assert "counted   clip: yard: 3 inside (3 thing)" in said
    assert said.count("3 thing") == 6 + 1
    assert len(list((tmp_path / "predict" / "snapshots").iterdir())) == 1


def test_imgsz_scales_what_is_sent_and_not_what_is_saved(tmp_path: Path) -> None:
    sizes: list[int] = []
    with FakeModelServer() as server:
        real = server._predict

        def look(data: bytes, context: Any) -> bytes:
            from client.wire import tfserving_pb2 as tfs

            (image,) = tfs.PredictRequest.FromString(data).inputs["image_bytes"].string_val
            decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            assert decoded is not None
            sizes.append(max(decoded.shape))
            return real(data, context)

        server.kill()
        server._predict = look  # type: ignore[method-assign]
        server.respond = lambda _number: response_of(3)
        server.start()
        video = write_video(tmp_path / "clip.mp4", frames=3, size_wh=(320, 200))
        summary, _ = detect(
            video, server=server.target, imgsz=160, every_frame=True, save=True, project=str(tmp_path),
            jsonl=str(tmp_path / "r.jsonl"),
        )  # fmt: skip
    assert sizes == [160, 160, 160]
    assert rows_of(tmp_path / "r.jsonl")[0]["width"] == 320
    assert cv2.VideoCapture(f"{summary.save_dir}/clip.mp4").get(cv2.CAP_PROP_FRAME_WIDTH) == 320


def test_duration_ends_a_live_source(relay: RelayThread) -> None:
    started = time.monotonic()
    summary, _ = detect("synthetic:fps=30,size=160x120", relay=relay.target, duration_s=0.5)
    assert time.monotonic() - started < 3
    assert summary.exit_code == 0
    assert 8 <= summary.account.captured <= 30


def test_stop_ends_a_run(relay: RelayThread) -> None:
    stop = threading.Event()
    threading.Timer(0.7, stop.set).start()
    summary, _ = detect("synthetic:fps=30,size=160x120", relay=relay.target, stop=stop)
    assert summary.account.delivered > 0


def test_a_sink_that_failed_is_told_while_the_run_goes_on(
    relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect_module, "STATUS_EVERY_S", 0.3)
    summary, said = detect(
        "synthetic:fps=30,size=160x120", relay=relay.target, duration_s=1.0, jsonl="/dev/full"
    )
    assert "| not written: /dev/full: No space left on device\n" in said.partition("frames  ")[0]
    assert summary.exit_code == 1


def test_a_slow_server_costs_frames_with_reasons() -> None:
    with (
        FakeModelServer(latency_s=0.15, respond=lambda _number: response_of(3)) as slow,
        RelayThread(slow.target) as relay,
    ):
        summary, said = detect("synthetic:fps=60,size=160x120", relay=relay.target, duration_s=1.0)
    assert summary.account.delivered > 0
    assert summary.account.dropped.total() > summary.account.delivered
    assert " dropped (" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(relay: RelayThread, tmp_path: Path, number: int) -> None:
    code = (
        "import sys; from client.detect import run; from client.detect_config import configure;"
        "sys.exit(run(configure([{'source': 'synthetic:fps=30,size=160x120'}],"
        " {'relay': sys.argv[1], 'jsonl': sys.argv[2]})).exit_code)"
    )
    log = tmp_path / "r.jsonl"
    with subprocess.Popen(
        bound([sys.executable, "-c", code, relay.target, str(log)]),
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        end = time.monotonic() + 20
        # On a busy machine the first frames may be too old: a run that delivered none is no success.
        while not any(row["status"] == "delivered" for row in rows_of(log)) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
    assert err == ""
    assert process.returncode == 0
    rows = rows_of(log)
    assert f"frames    {len(rows)} captured" in out
    assert "DO NOT ADD UP" not in out


# --- runs that do not -------------------------------------------------------------------------------------


def test_a_relay_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = f"127.0.0.1:{gone.getsockname()[1]}"
    video = write_video(tmp_path / "clip.mp4", frames=3)
    for source in (str(video), "synthetic:size=160x120"):
        started = time.monotonic()
        summary, _ = detect(source, relay=target, wait_s=0.5, every_frame=source == str(video))
        assert time.monotonic() - started < 4
        assert summary.exit_code == 1
        (failure,) = summary.failures
        assert failure == (
            f"cannot reach the relay at {target} (no answer: Connection refused): "
            "start it with `sightline relay`, or name it with --relay"
        )
    summary, _ = detect(video, video, server=target, wait_s=0.5, every_frame=True)
    assert len(summary.failures) == 1  # said once for both
    assert "--server" in summary.failures[0]


def test_a_relay_that_refuses_is_not_one_that_is_not_there() -> None:
    source = "synthetic:size=160x120,fps=20"
    with FakeRelay(done, refuse=(grpc.StatusCode.UNAUTHENTICATED, "Jwt is expired")) as refusing:
        summary, _ = detect(source, source, relay=refusing.target, wait_s=0.3)
        (failure,) = summary.failures
        assert failure.startswith(
            f"the relay at {refusing.target} refused: UNAUTHENTICATED: Jwt is expired; "
        )
        assert "start it" not in failure
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        summary, said = detect(source, relay=refusing.target, wait_s=9, stop=stop)
        assert (
            "note      synthetic-3: not connected at the end: refused: UNAUTHENTICATED: Jwt is expired"
            in said
        )
        assert summary.cameras[0].problem == "refused: UNAUTHENTICATED: Jwt is expired"


def test_an_unknown_model_ends_even_a_live_run(server: FakeModelServer) -> None:
    started = time.monotonic()
    summary, said = detect(
        "synthetic:fps=30,size=160x120", server=server.target, model_name="yolov9", wait_s=0.5
    )
    assert time.monotonic() - started < 5
    assert summary.exit_code == 1
    assert summary.account.errored > 0
    assert "no frame was delivered: NOT_FOUND" in summary.failures[0]
    assert "yolov9" in said


def test_one_source_that_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    summary, said = detect(tmp_path / "text.mp4", relay="127.0.0.1:1")
    assert summary.exit_code == 1
    assert said.count("\n") == 1
    assert "as a video" in said


def test_cameras_fail_alone(relay: RelayThread, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"rtsp://admin:hunter2@127.0.0.1:{gone.getsockname()[1]}/s"
    video = write_video(tmp_path / "clip.mp4")
    summary, said = detect(
        tmp_path / "text.mp4", url, video, "synthetic:size=160x120", relay=relay.target, duration_s=1
    )
    assert summary.exit_code == 0
    assert summary.account.delivered > 5
    assert [camera.account.delivered > 0 for camera in summary.cameras] == [False, False, True, True]
    assert len(summary.failures) == 2
    assert "text: cannot read" in said
    assert "127.0.0.1: no frame came from rtsp://***@127.0.0.1" in said
    assert "hunter2" not in said


def test_a_sink_that_fails_does_not_stop_the_stream(relay: RelayThread, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    video = write_video(tmp_path / "clip.mp4", frames=5)
    summary, _ = detect(video, relay=relay.target, every_frame=True, jsonl="/dev/full")
    assert summary.account.delivered == 5
    assert summary.exit_code == 1
    assert "No space left" in summary.failures[0]


def test_an_output_that_cannot_be_opened_is_raised(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot write"):
        run(configure([{"source": "synthetic"}], {"jsonl": str(tmp_path)}), text_console())


@pytest.mark.parametrize(
    "options",
    [
        {"source": ""}, {"conf": 1.5}, {"conf": -0.1}, {"conf": float("nan")},
        {"classes": ("",)}, {"imgsz": -1}, {"jpeg_quality": 0}, {"max_age_s": -1.0}, {"vid_stride": 0},
        {"fps": 0.0}, {"duration_s": -1.0}, {"duration_s": math.nan}, {"wait_s": 0.0}, {"wait_s": math.nan},
        {"priority": 0}, {"priority": 11}, {"id": "a\n"},
        {"id": "x" * 257}, {"snapshots": ("",)}, {"table": True, "jsonl": "-"}, {"lines": {"a": ((0, 0), (0, 0))}},
        {"zones": {"a": ((0, 0), (1, 1))}}, {"zones": {"a": ((0, 0), (1, 1), (0, 1.5))}},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        configure([{"source": options.pop("source", "synthetic")}], options)


def test_a_run_needs_cameras_with_ids_of_their_own() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        configure([], {})
    for cameras in (
        [{"source": "0", "id": "door"}, {"source": "1", "id": "door"}],
        [{"source": "door.mp4"}, {"source": "1", "id": "door"}],
    ):
        with pytest.raises(ValueError, match="id: expected another for each camera, got door twice"):
            configure(cameras, {})
    config = configure([{"source": "a.mp4"}, {"source": "a.mp4"}, {"source": "0", "id": "door"}], {})
    assert config.ids() == ["a", "a-2", "door"]


# --- parts ------------------------------------------------------------------------------------------------


def test_choice_keeps_order_and_drops_the_rest() -> None:
    found = detections(
        ("car", 2, 0.9, (0, 0, 1, 1)), ("person", 0, 0.8, (0, 0, 0.5, 0.5)), ("car", 2, 0.3, (0.5, 0.5, 1, 1))
    )
    result = delivered(frame(), found)
    assert Choice().apply(result) is result
    kept = Choice(conf=0.5, classes=["CAR "]).apply(result).detections
    assert kept is not None
    assert kept.labels == ("car",)
    assert kept.boxes.shape == (1, 4)
    nothing = Choice(classes=["7"]).apply(result).detections
    assert nothing is not None
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)
    lost = dropped(frame())
    assert Choice(conf=1.0).apply(lost) is lost
    empty = delivered(frame(), NOTHING)
    assert Choice(conf=1.0, classes=["0"]).apply(empty) is empty


@pytest.mark.parametrize("count", [1, 2, 100, 5000])
def test_age_percentiles_are_within_a_percent(count: int) -> None:
    ages = np.random.default_rng(count).lognormal(-3, 1, count)
    histogram = AgeHistogram()
    for age in ages:
        histogram.add(float(age))
    for percent in (0, 1, 50, 99, 100):
        exact = np.percentile(ages, percent, method="inverted_cdf")
        assert histogram.percentile_s(percent) == pytest.approx(exact, rel=0.0101)


def test_an_age_histogram_at_its_limits() -> None:
    assert math.isnan(AgeHistogram().percentile_s(50))
    histogram = AgeHistogram()
    for age in (-1.0, 0.0, 1e-9, 1e9):
        histogram.add(age)
    assert histogram.percentile_s(50) == pytest.approx(1e-4, rel=0.02)
    assert histogram.percentile_s(100) == pytest.approx(1e3, rel=0.02)


def test_a_tally_is_bounded_whatever_comes() -> None:
    tally = Tally()
    for number in range(10_000):
        tally.add(errored(frame(number), f"INTERNAL: {number}"))
        tally.add(delivered(frame(number), model_version=number))
    assert len(tally.errors) == MAX_KINDS + 1
    assert len(tally.versions) == MAX_KINDS + 1
    assert tally.errors.total() == 10_000
    assert len(tally.recent) < 5000


def test_a_tally_keeps_the_last_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, now_s = Tally(), 1000.0
    monkeypatch.setattr("client.tally.time.monotonic", lambda: now_s)
    for number in range(1000):
        now_s += 0.1
        tally.add(delivered(frame(number, captured_s=now_s - 0.04)))
    assert len(tally.recent) == pytest.approx(RECENT_S / 0.1, abs=1)
    fps, p50_s, _ = tally.recent_figures(now_s)
    assert fps == pytest.approx(10, rel=0.03)
    assert p50_s > 0


def test_texts() -> None:
    assert outcome_text(Account()) == "0 captured = 0 delivered + 0 errored + 0 dropped"
    tally = Tally()
    for version in (1, 1, 1, 2):
        tally.add(delivered(frame(captured_s=time.monotonic()), model_version=version))
    assert versions_text(tally.versions) == "yolov8 v1 75 %, v2 25 %"
    tally.add(errored(frame(), "INTERNAL: \x1b[31mred"))
    account = Account(captured=6, delivered=4, errored=1)
    account.dropped["expired"] = 1
    camera = CameraReport("door", "rtsp://***@door", "streaming", account, tally)
    line = status_line([camera], time.monotonic())
    assert "\x1b" not in line
    for part in (
        "door: streaming",
        "4 delivered, 1 errored, 1 dropped (expired 1)",
        "age p50 50 ms",
        "0.0 objects",
    ):
        assert part in line
    assert "cameras: 2 streaming" in status_line([camera, camera], time.monotonic())
    console = Console(file=StringIO(), width=160)
    console.print(status_table([camera, camera], time.monotonic(), console))
    assert text_of(console).count("75 %") == 2
    assert "late" not in line
    console.print(status_table([camera, camera], time.monotonic(), console, ["a.jsonl: no space"]))
    assert "not written: a.jsonl: no space" in text_of(console)
    assert printable("a\nb\x1b") == "a?b?"


def held_back(window: int, detail: float) -> AgeControl:
    control = AgeControl(0.2, 2, fixed=False, adapt=True)
    control.window, control.detail = window, detail
    return control


def told_of(*cameras: CameraReport) -> tuple[str, str]:
    """The status line, and the table that a terminal gets."""
    console = Console(file=StringIO(), width=160)
    console.print(status_table(cameras, time.monotonic(), console))
    return status_line(cameras, time.monotonic()), text_of(console)


def test_why_a_camera_has_no_connection_and_what_holds_its_age_are_seen() -> None:
    problem = "refused: UNAUTHENTICATED: Jwt is expired"
    account = Account(captured=4, delivered=4, late=1)
    away = CameraReport(
        "door", "0", "backing off", account, Tally(), problem=problem, control=held_back(1, 0.4)
    )
    here = CameraReport("yard", "1", "streaming", account, Tally(), control=held_back(4, 1.0))
    line, table = told_of(away)
    assert line.startswith(f"door: backing off ({problem}) | ")
    assert "| 1 late | 4 delivered" in line
    assert line.endswith("| window 1, detail 40 %")
    assert problem in table
    assert "window 1, detail 40 %" in table
    line, table = told_of(away, here, away)
    assert line.startswith(f"cameras: 2 backing off, 1 streaming (2 {problem}) | ")
    assert line.endswith("| window 1 to 4, detail 40 to 100 %")
    assert f"2 {problem}" in table
    assert told_of(replace(away, control=held_back(2, 1.0)))[0].endswith("| - objects/frame")


def test_the_summary_tells_how_much_was_late_and_what_came_back() -> None:
    camera = CameraReport("door", "0", "ended", Account(8, 8, late=2), Tally(), max_age_s=0.2)
    lines = Summary((camera,), camera.account, Tally()).lines()
    assert "late      2 of 8 delivered, 25.0 %, by their max age" in lines
    assert not any(line.startswith("again") for line in lines)
    again = replace(camera, reconnects=1, source_reconnects=2, max_age_s=0.0)
    lines = Summary((again, again), camera.account, Tally()).lines()
    assert "again     connected 2 times, opened a source 4 times" in lines
    assert not any(line.startswith("late") for line in lines)


def test_a_sinks_line_tells_why_results_were_lost() -> None:
    assert sink_text(SinkReport("r.jsonl", 290, {})) == "290 to r.jsonl"
    lost = SinkReport("https://host", 290, {"queue_full": 8, "undelivered": 2}, "it answers 503")
    told = "290 to https://host, 10 dropped (queue_full 8, undelivered 2: it answers 503)"
    assert sink_text(lost) == told
    assert f"written   {told}" in Summary((), Account(), Tally(), (lost,)).lines()


def test_a_summary_that_does_not_add_up_fails() -> None:
    account = Account(captured=2, delivered=1)
    summary = Summary((), account, Tally())
    assert summary.exit_code == 1
    assert "DO NOT ADD UP" in summary.lines()[0]


def test_a_narrow_terminal_gets_fewer_columns_and_all_of_their_letters() -> None:
    tally = Tally(delivered=1234, versions=Counter({("yolov8", 1): 80, ("yolov8", 2): 20}))
    account = Account(captured=1234, delivered=1234)
    camera = CameraReport("synthetic-camera-1", "synthetic", "backing off", account, tally)
    for width, missing in ((80, {"model", "late"}), (140, set[str]())):
        console = Console(file=StringIO(), width=width)
        console.print(status_table([camera, camera], time.monotonic(), console))
        table = text_of(console)
        assert "…" not in table
        assert table.count("backing off") == 2
        assert {name for name in ("model", "late", "delivered", "dropped") if name not in table} == missing
