"""One bad frame is one error: no other frame, camera or caller is worse off, and nothing is decoded in vain."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import cv2
import grpc
import numpy as np
import psutil
import pytest
from tensorflow_serving.apis import predict_pb2

from client import DetectionStream, Frame, Result, Status, StreamConfig
from client.predict import PREDICT, request_bytes
from model import contract
from tests.client.media import jpeg
from tests.sightline.conftest import ModelServer
from tests.sightline.stack import Counts, Done, assert_rows_match, counts_of, rows_of, sightline

pytestmark = pytest.mark.timeout(300)

STEPS = np.arange(320 * 240 * 3, dtype=np.uint32) * 7919 % 251
GOOD = jpeg(STEPS.astype(np.uint8).reshape(240, 320, 3))
TRUNCATED = GOOD[: len(GOOD) // 2]


def claiming(width: int, height: int) -> bytes:
    """GOOD with another size in its header."""
    at = GOOD.index(b"\xff\xc0") + 5
    return GOOD[:at] + struct.pack(">HH", height, width) + GOOD[at + 4 :]


HUGE = claiming(65_500, 65_500)
BAD = {
    "empty": b"",
    "text": b"this is no picture",
    "truncated": TRUNCATED,
    "header only": GOOD[:4],
    "garbage": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8,
    "huge": HUGE,
    "zero": claiming(0, 0),
    "png header": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
    "gif": b"GIF89a" + b"\x01\0\x01\0\0\0\0;",
}


class Files:
    """A source of encoded files that wait to be taken."""

    live = False

    def __init__(self, camera_id: str, files: list[bytes]) -> None:
        self.camera_id = camera_id
        self._files = files

    def frames(self) -> Iterator[Frame]:
        for number, file in enumerate(self._files):
            yield Frame(self.camera_id, number, time.monotonic(), time.time_ns(), jpeg=file)

    def close(self) -> None:
        """Nothing is held."""


def stream(target: str, camera_id: str, files: list[bytes]) -> list[Result]:
    with DetectionStream(Files(camera_id, files), target, StreamConfig(max_age_s=0)) as results:
        return list(results)


def detect_folder(folder: Path, files: dict[str, bytes], relay: str) -> tuple[Done, Counts, list[str]]:
    """Run `sightline detect` on a folder of these files: what it said, its counts, and each file's status."""
    (folder / "pictures").mkdir()
    for name, data in files.items():
        (folder / "pictures" / name).write_bytes(data)
    done = sightline("detect", "pictures", f"--relay={relay}", "--jsonl=rows.jsonl", cwd=folder)
    counts, rows = counts_of(done.out), rows_of(folder / "rows.jsonl")
    assert_rows_match(rows, counts)
    assert [Path(row["file"]).name for row in rows] == sorted(files)
    return done, counts, [row["status"] for row in rows]


def test_a_corrupt_picture_in_a_folder_is_that_frames_error(relay: str, tmp_path: Path) -> None:
    files = {"a.jpg": GOOD, "b.jpg": TRUNCATED, "c.jpg": b"", "d.jpg": GOOD}
    done, counts, statuses = detect_folder(tmp_path, files, relay)
    assert (done.code, done.err) == (0, "")
    assert statuses == ["delivered", "errored", "errored", "delivered"]
    assert counts.errored == 2
    errors = [line for line in done.out.splitlines() if line.startswith("errors ")]
    assert len(errors) == 2
    assert all("INVALID_ARGUMENT: " in line and "[[" not in line for line in errors)
    assert {line[-len("(pictures/b.jpg)") :] for line in errors} == {"(pictures/b.jpg)", "(pictures/c.jpg)"}


def test_a_header_that_claims_four_gigapixels_is_refused(
    server: ModelServer, relay: str, tmp_path: Path
) -> None:
    """Decoded, it would take 12 GB."""
    process = psutil.Process(server.running.pid)
    before = process.memory_info().rss
    files = {f"{number:02}.jpg": HUGE if number % 2 else GOOD for number in range(20)}
    done, _, statuses = detect_folder(tmp_path, files, relay)
    assert (done.code, done.err) == (0, "")
    assert statuses == ["delivered", "errored"] * 10
    assert done.seconds < 20
    assert "50000000 pixels, its header says height, width 65500 65500" in done.out
    assert process.memory_info().rss - before < 200e6


def test_only_bad_pictures_fail_the_run_in_a_line(relay: str, tmp_path: Path) -> None:
    done, counts, _ = detect_folder(tmp_path, {"a.jpg": HUGE}, relay)
    assert done.code == 1
    assert counts.errored == 1
    assert done.last_line.startswith("failed    no frame was delivered: INVALID_ARGUMENT: expected an image")


def test_cameras_of_bad_frames_cost_the_others_nothing(relay: str) -> None:
    """Three good cameras, one that sends only bad pictures and one that sends both, at the same time."""
    mixed = [file for bad in BAD.values() for file in (GOOD, bad)]
    plans = {"good-1": [GOOD] * 20, "good-2": [GOOD] * 20, "good-3": [GOOD] * 20, "bad": list(BAD.values()) * 3,
             "mixed": mixed}  # fmt: skip
    results: dict[str, list[Result]] = {}

    def run(camera_id: str) -> None:
        results[camera_id] = stream(relay, camera_id, plans[camera_id])

    threads = [threading.Thread(target=run, args=(camera_id,)) for camera_id in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for camera_id, files in plans.items():
        got = results[camera_id]
        wrong = [
            result.error for result, file in zip(got, files, strict=True) if result.error and file == GOOD
        ]
        assert not wrong, camera_id
        assert [result.frame.frame_id for result in got] == list(range(len(files)))
        expected = [Status.DELIVERED if file == GOOD else Status.ERRORED for file in files]
        assert [result.status for result in got] == expected, camera_id
        errors = {result.error.partition(":")[0] for result in got if result.error}
        assert errors <= {"INVALID_ARGUMENT"}


@pytest.mark.parametrize("name", list(BAD))
def test_each_kind_of_bad_picture_is_an_invalid_argument(relay: str, name: str) -> None:
    first, bad, last = stream(relay, "camera", [GOOD, BAD[name], GOOD])
    assert (first.status, bad.status, last.status) == (Status.DELIVERED, Status.ERRORED, Status.DELIVERED)
    assert bad.error is not None
    assert bad.error.startswith("INVALID_ARGUMENT: ")
    assert bad.age_s < 5


def test_predicts_at_once_fail_alone(server: ModelServer) -> None:
    """Six callers send good and bad images by turns, and batches of their own: whole batches of good ones pass."""
    bad = list(BAD.values())
    plan = [[GOOD] * 3 if number % 4 == 1 else [GOOD] if number % 4 else [bad[number // 4 % len(bad)]]
            for number in range(4 * len(bad))]  # fmt: skip
    with closing(grpc.insecure_channel(server.target)) as channel, ThreadPoolExecutor(6) as callers:
        predict = channel.unary_unary(PREDICT)
        answers = list(callers.map(lambda images: answer_of(predict, images), plan))
    for images, answer in zip(plan, answers, strict=True):
        assert answer == (len(images) if images[0] == GOOD else grpc.StatusCode.INVALID_ARGUMENT)


def answer_of(predict: Callable[..., bytes], images: list[bytes]) -> int | grpc.StatusCode:
    """How many images a Predict answers, or the status that it fails with."""
    try:
        answer = predict_pb2.PredictResponse.FromString(predict(batch_bytes(images), timeout=30))
    except grpc.RpcError as error:
        return error.code()
    return int(answer.outputs[contract.OUTPUT_NUM].tensor_shape.dim[0].size)


def batch_bytes(images: list[bytes]) -> bytes:
    """A PredictRequest for several images."""
    request = predict_pb2.PredictRequest.FromString(
        request_bytes(contract.MODEL_NAME, contract.SIGNATURE, images[0])
    )
    tensor = request.inputs[contract.INPUT_IMAGE_BYTES]
    tensor.string_val.extend(images[1:])
    tensor.tensor_shape.dim[0].size = len(images)
    data: bytes = request.SerializeToString()
    return data


def test_the_bad_pictures_are_bad() -> None:
    """Else the tests above would prove nothing."""
    good = cv2.imdecode(np.frombuffer(GOOD, np.uint8), cv2.IMREAD_COLOR)
    assert good is not None
    assert good.shape == (240, 320, 3)
    assert len(set(BAD.values())) == len(BAD)
    assert struct.pack(">HH", 65_500, 65_500) in HUGE
