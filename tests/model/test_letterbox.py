"""The geometry is Ultralytics' own, and its inverse is its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ultralytics.data.augment import LetterBox

from model.contract import LETTERBOX_GREY
from model.letterbox import check_imgsz, fit

SIDES = st.integers(1, 3000)


@pytest.mark.parametrize(
    ("frame_hw", "imgsz", "input_hw"),
    [
        ((1080, 1920), (640, 640), (384, 640)),
        ((1080, 810), (640, 640), (640, 480)),
        ((640, 640), (640, 640), (640, 640)),
        ((1, 1), (640, 640), (640, 640)),
        ((1, 5000), (640, 640), (32, 640)),
        ((720, 1280), (384, 640), (384, 640)),
        ((1280, 720), (384, 640), (384, 224)),
    ],
)
def test_smallest_rectangle(
    frame_hw: tuple[int, int], imgsz: tuple[int, int], input_hw: tuple[int, int]
) -> None:
    assert fit(frame_hw, imgsz).input_hw == input_hw


@pytest.mark.parametrize(
    "frame_hw", [(1080, 1920), (1080, 810), (333, 500), (720, 1281), (97, 1000), (12, 13)]
)
@pytest.mark.parametrize("imgsz", [(640, 640), (320, 320), (384, 640)])
def test_places_the_frame_where_ultralytics_does(frame_hw: tuple[int, int], imgsz: tuple[int, int]) -> None:
    place = fit(frame_hw, imgsz)
    theirs = LetterBox(imgsz, auto=True, stride=32)(image=np.full((*frame_hw, 3), 255, np.uint8))
    rows, columns = np.nonzero((theirs != LETTERBOX_GREY).all(-1))
    assert theirs.shape[:2] == place.input_hw
    assert (rows.min(), columns.min()) == (place.top, place.left)
    assert (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) == place.resized_hw


@given(SIDES, SIDES, st.floats(0, 1), st.floats(0, 1))
def test_there_and_back(height: int, width: int, across: float, down: float) -> None:
    place = fit((height, width), (640, 640))
    x, y = place.to_frame(*place.to_input(across * width, down * height))
    assert x == pytest.approx(across * width, abs=1e-6)
    assert y == pytest.approx(down * height, abs=1e-6)


@given(SIDES, SIDES)
def test_the_frame_fits_and_touches(height: int, width: int) -> None:
    place = fit((height, width), (640, 640))
    assert max(place.resized_hw) == 640
    for resized, side, before in zip(place.resized_hw, place.input_hw, (place.top, place.left), strict=True):
        assert side % 32 == 0
        assert 0 <= side - resized < 32
        assert 0 <= before <= (side - resized + 1) // 2


@pytest.mark.parametrize("imgsz", [(100, 640), (640, 0), (-32, 64), (31, 31)])
def test_refuses_other_sizes(imgsz: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"multiple of 32, got .*: try"):
        check_imgsz(imgsz)


def test_refuses_a_frame_without_pixels() -> None:
    with pytest.raises(ValueError, match="got 5x0"):
        fit((0, 5), (640, 640))
