import numpy as np
import pytest

from client.annotate import annotate
from client.colours import class_colour
from tests.client.media import picture
from tests.client.results import NOTHING, detections


def test_a_box_is_drawn_where_it_lies() -> None:
    image = picture(0, (400, 200))
    drawn = annotate(image, detections(("car", 2, 0.9, (0.5, 0.25, 0.9, 0.75))))
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == picture(0, (400, 200))).all()  # the original is not touched
    for x, y in ((100, 150), (300, 150), (200, 180)):  # left, right and lower edge
        assert np.abs(drawn[y, x].astype(int) - class_colour(2)).max() <= 40
    assert (drawn[150, 200] == image[150, 200]).all()  # nothing inside
    assert (drawn[20:60] == image[20:60]).all()  # nor far above
    changed = np.flatnonzero((drawn != image).any(axis=(1, 2)))
    assert changed[0] >= 75  # the label's plate lies on the box


def test_no_detections_is_a_copy() -> None:
    image = picture()
    drawn = annotate(image, NOTHING)
    assert (drawn == image).all()
    assert drawn is not image


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 500), (500, 2), (16, 16), (640, 480), (3840, 2160)])
@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 1.0, 1.0), (0.0, 0.95, 0.02, 1.0),
        (-3.0, -3.0, 7.0, 7.0), (0.8, 0.8, 0.1, 0.1), (np.nan, np.inf, -np.inf, np.nan),
    ],
)  # fmt: skip
def test_any_box_in_any_picture(size_wh: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    drawn = annotate(picture(0, size_wh), detections(("a very long label indeed " * 3, 2**31 - 1, 0.5, box)))
    assert drawn.shape == (size_wh[1], size_wh[0], 3)


def test_labels_of_other_scripts_and_a_crowd() -> None:
    crowd = [("行人\n", i, 0.9, (0.4, 0.4, 0.6, 0.6)) for i in range(300)]
    assert annotate(picture(0, (640, 480)), detections(*crowd)).any()


def test_labels_keep_out_of_each_others_way() -> None:
    """Two equal boxes: both plates are whole, so twice the ink of one."""
    image = picture(0, (400, 300))
    box = (0.3, 0.3, 0.9, 0.9)
    one = annotate(image, detections(("dog", 0, 0.9, box)))
    two = annotate(image, detections(("dog", 0, 0.9, box), ("dog", 0, 0.8, box)))
    plate = np.array(class_colour(0))
    ink = [int((np.abs(drawn.astype(int) - plate).max(axis=2) == 0).sum()) for drawn in (one, two)]
    assert ink[1] > ink[0] * 1.2


def test_colours_are_stable_and_differ() -> None:
    assert class_colour(0) == (0x36, 0x41, 0xFF)  # blue, green, red
    assert len({class_colour(i) for i in range(20)}) == 20
    assert class_colour(20) == class_colour(0)


@pytest.mark.parametrize("size_wh", [(320, 180), (640, 360), (1280, 720)])
def test_small_objects_stay_visible(size_wh: tuple[int, int]) -> None:
    """People in two rows, the lower ones where the labels of the upper ones or their own would hide somebody."""
    image = picture(0, size_wh)
    rows = [
        ("person", 0, 0.9 - 0.01 * n, (y, x, y + 0.16, x + 0.05))
        for n, (y, x) in enumerate(
            [(0.3, 0.2), (0.48, 0.2), (0.3, 0.28), (0.48, 0.28), (0.0, 0.95), (0.84, 0.0)]
        )
    ]
    drawn = annotate(image, detections(*rows))
    for _, _, _, (ymin, xmin, ymax, xmax) in rows:
        y0, y1 = round(ymin * size_wh[1]), round(ymax * size_wh[1])
        x0, x1 = round(xmin * size_wh[0]), round(xmax * size_wh[0])
        inside = (drawn == image).all(axis=2)[y0 : y1 + 1, x0 : x1 + 1]
        assert inside.mean() > 0.7, (ymin, xmin)


def test_a_label_that_would_hide_its_object_lies_inside_the_picture_or_nowhere() -> None:
    """An object at each corner, and one that is all that there is."""
    image = picture(0, (400, 300))
    corners = [(y, x, y + 0.1, x + 0.05) for y in (0.0, 0.9) for x in (0.0, 0.95)]
    plate = np.array(class_colour(2))
    for box in corners:
        drawn = annotate(image, detections(("car", 2, 0.9, box)))
        assert ((drawn == plate).all(axis=2)).sum() > 500  # its label is there, whole
    tiny = picture(0, (30, 12))
    drawn = annotate(tiny, detections(("car", 2, 0.9, (0.0, 0.0, 1.0, 1.0))))
    assert (drawn[3:-3, 3:-3] == tiny[3:-3, 3:-3]).all()


def test_a_box_whose_corners_are_swapped_is_the_same_box() -> None:
    image = picture(0, (400, 300))
    right, swapped = (0.2, 0.3, 0.6, 0.5), (0.6, 0.5, 0.2, 0.3)
    drawn = [annotate(image, detections(("car", 2, 0.9, box))) for box in (right, swapped)]
    assert (drawn[0] == drawn[1]).all()
