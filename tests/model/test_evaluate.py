"""Mean average precision, on cases whose answer can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.evaluate import Prediction, Truth, evaluate_map

NAMES = ("cat", "cow")
Box = tuple[float, float, float, float]
A, B, FAR = (10.0, 10.0, 50.0, 50.0), (100.0, 100.0, 180.0, 160.0), (300.0, 300.0, 340.0, 340.0)
UNSCORED = Prediction(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int64))


def truth(*objects: tuple[Box, int], ignored: tuple[tuple[Box, int], ...] = ()) -> Truth:
    def arrays(items: tuple[tuple[Box, int], ...]) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.asarray([box for box, _ in items], np.float32).reshape(-1, 4)
        return boxes, np.asarray([kind for _, kind in items], np.int64)

    return Truth(*arrays(objects), *arrays(ignored))


def found(*objects: tuple[Box, int, float]) -> Prediction:
    return Prediction(
        np.asarray([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        np.asarray([score for _, _, score in objects], np.float32),
        np.asarray([kind for _, kind, _ in objects], np.int64),
    )


def test_what_is_found_exactly_counts_fully() -> None:
    result = evaluate_map([found((A, 0, 0.9), (B, 1, 0.8))], [truth((A, 0), (B, 1))], NAMES)
    assert result.map50 == pytest.approx(1)
    assert result.map50_95 == pytest.approx(1)
    assert result.per_class["cow"].objects == 1


@pytest.mark.parametrize(
    ("prediction", "map50"),
    [
        (found(), 0.0),  # nothing
        (found((A, 1, 0.9)), 0.0),  # the wrong class
        (found((FAR, 0, 0.9)), 0.0),  # the wrong place
        (found((A, 0, 0.9), (A, 0, 0.8)), 1.0),  # twice: the second is worse than the first
        (found((FAR, 0, 0.9), (A, 0, 0.8)), 0.5),  # a false one before the true one
        (found((A, 0, 0.9), (FAR, 0, 0.8)), 1.0),  # a false one after the true one
    ],
)
def test_one_object(prediction: Prediction, map50: float) -> None:
    assert evaluate_map([prediction], [truth((A, 0))], NAMES).map50 == pytest.approx(map50)


def test_half_of_the_objects_is_half_of_the_recall() -> None:
    result = evaluate_map([found((A, 0, 0.9)), found()], [truth((A, 0)), truth((B, 0))], NAMES)
    assert result.map50 == pytest.approx(51 / 101)  # recall 0 .. 0.5 of 101 steps


def test_a_loose_box_counts_up_to_its_overlap() -> None:
    loose = (10.0, 10.0, 50.0, 38.4)  # IoU 0.71 with A: five of the ten thresholds
    result = evaluate_map([found((loose, 0, 0.9))], [truth((A, 0))], NAMES)
    assert result.map50 == pytest.approx(1)
    assert result.map50_95 == pytest.approx(0.5)


def test_a_class_that_does_not_occur_is_not_in_the_mean() -> None:
    result = evaluate_map([found((A, 0, 0.9), (B, 1, 0.9))], [truth((A, 0))], NAMES)
    assert result.map50 == pytest.approx(1)
    assert result.per_class["cow"].objects == 0
    assert math.isnan(result.per_class["cow"].ap50)


def test_an_ignored_object_may_be_found_or_missed() -> None:
    asked = truth((A, 0), ignored=((B, 0),))
    for prediction in (found((A, 0, 0.5)), found((B, 0, 0.9), (A, 0, 0.5))):
        assert evaluate_map([prediction], [asked], NAMES).map50 == pytest.approx(1)
    other_class = found((B, 1, 0.9), (A, 0, 0.5))
    assert (
        evaluate_map([other_class], [truth((A, 0), (FAR, 1), ignored=((B, 0),))], NAMES).per_class["cow"].ap50
        == 0
    )


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_truth_is_no_number(images: int) -> None:
    result = evaluate_map([found((A, 0, 0.9))] * images, [truth()] * images, NAMES)
    assert math.isnan(result.map50)
    assert math.isnan(result.map50_95)


def test_more_than_a_hundred_objects_in_one_image_count() -> None:
    boxes: list[Box] = [(20.0 * i, 0.0, 20.0 * i + 15, 15.0) for i in range(150)]
    result = evaluate_map([found(*((b, 0, 0.9) for b in boxes))], [truth(*((b, 0) for b in boxes))], NAMES)
    assert result.map50 == pytest.approx(1)


@pytest.mark.parametrize(
    ("predictions", "truths", "message"),
    [
        ([], [truth()], "a prediction for each of 1 images, got 0"),
        ([found((A, 2, 0.9))], [truth((A, 0))], "class ids 2..2, there are 2 classes"),
        ([found()], [truth((A, -1))], "class ids -1..-1"),
        ([UNSCORED], [truth()], "2 scores"),
        ([found()], [Truth(np.zeros((1, 5), np.float32), np.zeros(1, np.int64))], r"\[K, 4\]"),
    ],
)
def test_what_does_not_fit_is_a_clear_error(
    predictions: list[Prediction], truths: list[Truth], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_map(predictions, truths, NAMES)


def test_small_objects_can_be_ignored() -> None:
    boxes = np.array([[0, 0, 20, 20], [0, 0, 20, 7.9], [30, 30, 38, 60]], np.float32)
    truth = Truth(boxes, np.array([0, 1, 2])).ignoring_below(8)
    assert truth.class_ids.tolist() == [0, 2]
    assert truth.ignored_ids.tolist() == [1]
    assert len(Truth(boxes[:0], np.zeros(0, np.int64)).ignoring_below(8).boxes_xyxy) == 0
