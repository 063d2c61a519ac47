"""Verification passes what is right and catches what is wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.evaluate import Prediction
from model.export import ExportConfig, export
from model.matching import iou_matrix, match
from model.street.dataset import validation_set
from model.verify import NETWORK, Comparison, Verifier, encode_png, image_files


def prediction(*rows: tuple[float, float, float, float, float, int]) -> Prediction:
    """Rows of x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    boxes, scores = table[:, :4].astype(np.float32), table[:, 4].astype(np.float32)
    return Prediction(boxes, scores, table[:, 5].astype(np.int64))


BOX = (10.0, 10.0, 50.0, 50.0, 0.9, 0)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], [[1.0]]),
        ([[0, 0, 10, 10]], [[5, 0, 15, 10]], [[1 / 3]]),
        ([[0, 0, 10, 10]], [[10, 10, 20, 20]], [[0.0]]),
        ([[0, 0, 0, 0]], [[0, 0, 0, 0]], [[0.0]]),
    ],
)
def test_iou(a: list[list[float]], b: list[list[float]], iou: list[list[float]]) -> None:
    np.testing.assert_allclose(iou_matrix(np.array(a, np.float32), np.array(b, np.float32)), iou)


def test_nothing_matches_nothing() -> None:
    assert match(prediction(), prediction(), 0.5) == []
    assert match(prediction(BOX), prediction(), 0.5) == []
    assert match(prediction(), prediction(BOX), 0.5) == []


def test_each_is_matched_once_and_within_its_class() -> None:
    other_class = (*BOX[:5], 1)
    assert match(prediction(BOX, BOX), prediction(BOX), 0.5) == [(0, 0)]
    assert match(prediction(BOX), prediction(other_class), 0.5) == []
    assert match(prediction(BOX), prediction(other_class, BOX), 0.5) == [(0, 1)]


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (prediction(BOX), True),
        (prediction((10.4, 10, 50, 50, 0.9, 0)), True),
        (prediction((10.6, 10, 50, 50, 0.9, 0)), False),  # half a pixel is allowed
        (prediction((10, 10, 50, 50, 0.906, 0)), False),  # so is 0.005 of score
        (prediction(), False),
        (prediction((10, 10, 50, 50, 0.9, 1)), False),
        (prediction(BOX, (100, 100, 150, 150, 0.5, 0)), False),  # one too many
    ],
)
def test_comparison(found: Prediction, passes: bool) -> None:
    comparison = Comparison(NETWORK["fp32"])
    comparison.add(prediction(BOX), found, conf=0.25)
    assert comparison.passed is passes


def test_a_score_at_the_threshold_may_fall_on_either_side() -> None:
    comparison = Comparison(NETWORK["fp32"])
    comparison.add(prediction(BOX, (60, 60, 90, 90, 0.251, 0)), prediction(BOX), conf=0.25)
    comparison.add(
        prediction(BOX, (60, 60, 90, 90, 0.249, 0)), prediction(BOX, (60, 60, 90, 90, 0.2501, 0)), 0.25
    )
    assert comparison.passed


def test_nothing_proves_nothing() -> None:
    comparison = Comparison(NETWORK["fp32"])
    comparison.add(prediction(), prediction(), conf=0.25)
    assert not comparison.passed


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_demo_weights(tmp_path: Path, precision: str) -> None:
    folder = export(ExportConfig("demo", tmp_path / "m", precision=precision, imgsz=(320, 320)))
    verifier = Verifier(folder, "demo")
    frames = [encode_png(f.image_bgr) for f in validation_set(4, seed=21, size_wh=(640, 360))]
    compared = verifier.compare(("frame", frame) for frame in frames)
    assert compared.network.expected >= 10
    assert compared.network.passed, compared.network
    street = verifier.street(5)
    assert street is not None
    bmp = bytes(
        cv2.imencode(".bmp", np.zeros((9, 9, 3), np.uint8))[1]
    )  # OpenCV decodes it, the graph does not
    for file, says in ((b"", "OpenCV cannot decode"), (b"text", "OpenCV cannot decode"), (bmp, "refuses it")):
        with pytest.raises(ValueError, match=rf"a\.jpg: .*{says}"):
            verifier.compare([("a.jpg", file)])
    assert abs(street.lost_points) < 2.0  # the bound itself needs more frames: `sightline verify`


def test_a_wrong_graph_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red and blue swapped, as people do: the comparison must fail."""
    folder = export(ExportConfig("demo", tmp_path / "m", precision="fp32", imgsz=(320, 320)))
    verifier = Verifier(folder, "demo")
    frames = list(validation_set(6, seed=21, size_wh=(640, 360)))
    right = verifier._runner.letterboxed
    monkeypatch.setattr(verifier._runner, "letterboxed", lambda image: right(image[..., ::-1]))
    assert not verifier.compare(("frame", encode_png(f.image_bgr)) for f in frames).network.passed


def test_other_weights_are_refused(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    folder = export(ExportConfig("demo", tmp_path / "m", precision="fp32", imgsz=(32, 32)))
    torch.save({"model": DetectionModel("yolov8n.yaml", nc=2, verbose=False)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"was exported from yolov8n-street\.pt with sha256"):
        Verifier(folder, str(tmp_path / "other.pt"))


def test_image_files(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        video.write(image)
    video.release()
    assert len(list(image_files([tmp_path, tmp_path / "a.png", tmp_path / "v.avi"]))) == 3
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.avi").write_text("text")
    for path, says in (("empty", "found none"), ("t.avi", "can read neither"), ("nope", "no such file")):
        with pytest.raises(ValueError, match=says):
            list(image_files([tmp_path / path]))
