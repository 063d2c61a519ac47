"""What comes out of the whole stack is right: photographs, a real street, and a synthetic one whose truth is known."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from client import Detections, DetectionStream, Result, SourceOptions, Status, StreamConfig
from client.sources.synthetic import Scene, SyntheticSource, Truth
from model.street import read_stamp
from sightline.verify_report import default_images
from tests.sightline.stack import assert_rows_match, counts_of, rows_of, sightline

pytestmark = pytest.mark.timeout(300)


# --- real pictures ----------------------------------------------------------------------------------------


def test_four_people_and_a_bus(coco_relay: str, tmp_path: Path) -> None:
    bus, zidane = default_images()
    done = sightline("detect", bus, zidane, f"--relay={coco_relay}", "--jsonl=-", cwd=tmp_path)
    assert done.code == 0
    rows = {row["camera"]: row for row in map(json.loads, done.out.splitlines())}
    labels = {camera: Counter(found["label"] for found in row["detections"]) for camera, row in rows.items()}
    assert (labels["bus"]["person"], labels["bus"]["bus"]) == (4, 1)
    assert (labels["zidane"]["person"], labels["zidane"]["bus"]) == (2, 0)
    (vehicle,) = [row for row in rows["bus"]["detections"] if row["label"] == "bus"]
    assert vehicle["class_id"] == 5
    assert vehicle["box"] == pytest.approx([22, 231, 805, 756], abs=12)  # Ultralytics': 22 231 805 756
    assert (rows["bus"]["model"], rows["bus"]["version"]) == ("coco", 1)
    assert counts_of(done.err).delivered == 2


def test_classes_by_name_and_number(coco_relay: str, tmp_path: Path) -> None:
    bus = default_images()[0]
    for classes, kept in (
        (("--classes", "5"), {"bus"}),
        (("--classes", "0,5"), {"bus", "person"}),
        (("--classes", "Bus", "--classes", "tie, 0"), {"bus", "person"}),
        (("--classes", "giraffe"), set()),
    ):
        done = sightline("detect", bus, f"--relay={coco_relay}", *classes, "--jsonl=-", cwd=tmp_path)
        assert done.code == 0
        assert {row["label"] for row in json.loads(done.out)["detections"]} == kept
    assert "nothing was called giraffe; there were bus, person" in done.err


def test_people_on_a_real_street(coco_relay: str, street_video: Path, tmp_path: Path) -> None:
    done = sightline(
        "detect", street_video, f"--relay={coco_relay}", "--every-frame", "--vid-stride=40", "--conf=0.4",
        "--jsonl=rows.jsonl", "--save", cwd=tmp_path,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    counts, rows = counts_of(done.out), rows_of(tmp_path / "rows.jsonl")
    assert_rows_match(rows, counts)
    assert counts.delivered == counts.captured >= 15
    people = [sum(found["label"] == "person" for found in row["detections"]) for row in rows]
    assert min(people) >= 1
    assert np.mean(people) > 3
    (video,) = (tmp_path / "runs" / "detect" / "predict").glob("*.mp4")
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == counts.delivered


# --- the synthetic street ---------------------------------------------------------------------------------


def ious(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of boxes [N, 4] with boxes [M, 4]: [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None] - shared), np.float32)


def found(truth: Truth, detections: Detections) -> int:
    """How many true objects have a detection of their class at IoU 0.5 or more."""
    count = 0
    for box, label in zip(truth.boxes, truth.labels, strict=True):
        same = [i for i, other in enumerate(detections.labels) if other == label]
        count += bool(same) and bool(ious(box[None], detections.boxes[same]).max() >= 0.5)
    return count


def all_results(source: SyntheticSource, target: str) -> list[Result]:
    with DetectionStream(source, target, StreamConfig(max_age_s=0)) as stream:
        results = list(stream)
    assert stream.account.balanced
    return results


def test_each_frames_boxes_are_its_own(relay: str) -> None:
    """Frames a second of the scene apart: the next frame's objects are elsewhere, so a mix-up would show."""
    objects = right = wrong = detected = 0
    for seed, size_wh in ((0, (1280, 720)), (2, (640, 480)), (3, (1280, 720))):
        source = SyntheticSource(
            Scene(seed, 1.0, size_wh, frames=15), "street", SourceOptions(every_frame=True)
        )
        results = all_results(source, relay)
        assert [result.frame.frame_id for result in results] == list(range(15))
        truths = [source.truth(result.frame.frame_id) for result in results]
        for i, result in enumerate(results):
            truth, other = truths[i], truths[(i + 1) % len(truths)]
            assert result.status is Status.DELIVERED
            assert result.detections is not None
            assert truth is not None
            assert other is not None
            objects += len(truth.labels)
            detected += len(result.detections)
            right += found(truth, result.detections)
            wrong += found(other, result.detections)
    assert objects > 200
    assert right / objects > 0.7
    assert right / detected > 0.7
    assert wrong / objects < 0.5


@pytest.mark.alone
def test_ages_are_those_that_the_pixels_tell(relay: str) -> None:
    """The time painted into a frame, read when its result is here, against the age that the result claims."""
    source = SyntheticSource(Scene(1, 10.0, (640, 480), frames=20), "street", SourceOptions())
    with DetectionStream(source, relay, StreamConfig(max_age_s=0)) as stream:
        for result in stream:
            now_ns = time.time_ns()
            if result.frame.image_bgr is None:
                continue
            stamp = read_stamp(result.frame.image_bgr)
            assert stamp is not None
            assert stamp.frame_id == result.frame.frame_id
            assert result.age_s == pytest.approx((now_ns - stamp.time_unix_ns) / 1e9, abs=0.05)
            assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=1.0)
    assert stream.account.delivered > 0


def test_saved_pictures_belong_to_their_rows(relay: str, tmp_path: Path) -> None:
    """The stamp in each frame of the annotated video names a delivered row, with its time of capture."""
    done = sightline(
        "detect", "synthetic:fps=10,frames=20", f"--relay={relay}", "--every-frame", "--save",
        "--jsonl=rows.jsonl", cwd=tmp_path,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    counts, rows = counts_of(done.out), rows_of(tmp_path / "rows.jsonl")
    assert_rows_match(rows, counts)
    assert counts.delivered == 20
    times = {row["frame_id"]: row["capture_time_unix_ns"] for row in rows}
    video = cv2.VideoCapture(str(tmp_path / "runs/detect/predict/synthetic-3.mp4"))
    stamps = []
    while (frame := video.read()[1]) is not None:
        stamps.append(read_stamp(np.asarray(frame, np.uint8)))
    assert len(stamps) == 20
    assert [(stamp.frame_id, stamp.time_unix_ns) for stamp in stamps if stamp] == list(times.items())
