import json
import os
import signal
import subprocess
import sys
import time
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from client.sinks import JsonLines, QueuedSink, SinkError, Table
from client.sinks.jsonl import rfc3339
from model.child import bound
from tests.client.media import jpeg, picture
from tests.client.results import delivered, detections, dropped, errored, frame

PERSON = ("person", 0, 0.87654, (0.25, 0.5, 0.75, 1.0))


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


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object; None for one that was cut off."""
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row


@pytest.mark.parametrize("torn", [False, True])
def test_json_lines_survive_a_kill(tmp_path: Path, torn: bool) -> None:
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
    ids = list(range(len(lines) - 1))
    assert [json.loads(line)["frame_id"] for line in lines[:-1]] == ids
    if torn:  # the write that the kill cut off, as far as it came
        os.truncate(path, path.stat().st_size - 5)
        ids.pop()
    with JsonLines(path) as sink:  # the next run
        sink.write(dropped(frame(0)))
        sink.write(dropped(frame(1)))
    whole = [row["frame_id"] for line in path.read_bytes().splitlines() if (row := parsed(line))]
    assert whole == [*ids, 0, 1]


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


def test_a_table_on_a_terminal_that_lacks_letters() -> None:
    file = TextIOWrapper(BytesIO(), "ascii")
    with Table(Console(file=file)) as sink:
        sink.write(delivered(frame(7), detections(("行人\x1b]0;x\x07\u202e", 0, 0.5, (0, 0, 1, 1)))))
    file.flush()
    assert isinstance(file.buffer, BytesIO)
    assert file.buffer.getvalue().endswith(b"1 ???]0;x??\n")


def test_a_table_that_nobody_reads_is_given_up() -> None:
    class Pipe(Console):
        def print(self, *_: Any, **__: Any) -> None:
            raise SystemExit(1)  # as rich does once the reader is gone

    queued = QueuedSink(Table(Pipe()), 10)
    for number in range(3):
        queued.write(dropped(frame(number)))
    queued.close()
    assert (queued.written, queued.dropped) == (0, {"failed": 3})
    assert queued.error == "table: nobody reads it any more"
