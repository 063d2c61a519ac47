"""The synthetic street: the same for the same seed, its truth fits its pixels, its stamps can be read."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from model.street import (
    CLASS_NAMES,
    MIN_VISIBLE,
    Rendered,
    Stamp,
    StreetScene,
    paint_stamp,
    read_stamp,
    stamp_height,
)
from model.street.dataset import training_chunk, validation_set
from model.street.movers import Placed
from model.street.pen import Image, Light, make_sprite
from model.street.scene import _visible_part

SMALL = (320, 180)


def busy_frame(seed: int, size_wh: tuple[int, int] = (640, 360)) -> tuple[StreetScene, Rendered, float]:
    """The fullest of a scene's first frames."""
    scene = StreetScene(seed, size_wh)
    best = max(np.arange(0, 40, 4.0), key=lambda t: len(scene.render(float(t)).class_ids))
    return scene, scene.render(float(best)), float(best)


@pytest.mark.parametrize("seed", range(6))
def test_frames_depend_only_on_seed_size_and_time(seed: int) -> None:
    one, other = StreetScene(seed, SMALL), StreetScene(seed, SMALL)
    other.render(99.0)  # what was rendered before must not matter
    a, b = one.render(12.34), other.render(12.34)
    np.testing.assert_array_equal(a.image_bgr, b.image_bgr)
    np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
    np.testing.assert_array_equal(a.class_ids, b.class_ids)


def test_seeds_differ_and_things_move() -> None:
    first, second = StreetScene(1, SMALL), StreetScene(2, SMALL)
    assert (first.render(0).image_bgr != second.render(0).image_bgr).any()
    moved = sum(
        (StreetScene(s, SMALL).render(0).image_bgr != StreetScene(s, SMALL).render(1.5).image_bgr).any()
        for s in range(4)
    )
    assert moved >= 3


def test_motion_is_smooth_at_video_rate() -> None:
    """Between two frames at 25 fps the picture changes a little, and less than over two seconds."""
    scene, _, t = busy_frame(5)
    now, next_, later = (scene.render(t + dt).image_bgr.astype(int) for dt in (0, 0.04, 2.0))
    near, far = np.abs(next_ - now) > 40, np.abs(later - now) > 40
    assert near.mean() < 0.02
    assert near.mean() < far.mean()


@pytest.mark.parametrize("size_wh", [(64, 64), (200, 100), (100, 400), (1280, 720), (3840, 2160)])
def test_any_size_and_time(size_wh: tuple[int, int]) -> None:
    scene = StreetScene(3, size_wh)
    for t in (-5.0, 0.0, 1.7e9):
        rendered = scene.render(t)
        assert rendered.image_bgr.shape == (size_wh[1], size_wh[0], 3)
        assert rendered.image_bgr.dtype == np.uint8


@pytest.mark.parametrize("seed", range(8))
def test_truth_lies_in_the_frame(seed: int) -> None:
    scene = StreetScene(seed, (640, 360))
    for t in (0.0, 7.7, 1000.1):
        rendered = scene.render(t)
        for boxes, ids in (
            (rendered.boxes_xyxy, rendered.class_ids),
            (rendered.ignored_xyxy, rendered.ignored_ids),
        ):
            assert boxes.shape == (len(ids), 4)
            assert (boxes >= 0).all()
            assert (boxes <= (640, 360, 640, 360)).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert set(ids.tolist()) <= set(range(len(CLASS_NAMES)))
        sides = rendered.boxes_xyxy[:, 2:] - rendered.boxes_xyxy[:, :2]
        assert (sides >= scene.min_box_px).all()


def test_all_classes_occur() -> None:
    seen: set[int] = set()
    for seed in range(12):
        seen |= set(StreetScene(seed, SMALL).render(1.0).class_ids.tolist())
    assert seen == set(range(len(CLASS_NAMES)))


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_those_of_the_drawn_pixels(seed: int) -> None:
    """Paint every object's mask with its own number, far to near, and take the boxes from what is left to see."""
    scene, rendered, t = busy_frame(seed)
    placed = scene._layout.placed(t)
    numbers = np.full((360, 640), -1)
    for i, item in enumerate(placed):
        ys, xs = np.nonzero(item.sprite.mask)
        ys, xs = ys + item.top, xs + item.left
        inside = (ys >= 0) & (ys < 360) & (xs >= 0) & (xs < 640)
        numbers[ys[inside], xs[inside]] = i
    expected = []
    for i, item in enumerate(placed):
        ys, xs = np.nonzero(numbers == i)
        if item.kind not in (*CLASS_NAMES, "rider") or not len(xs):
            continue
        kind = CLASS_NAMES.index("person" if item.kind == "rider" else item.kind)
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        large = min(box[2] - box[0], box[3] - box[1]) >= scene.min_box_px
        if large and len(xs) >= MIN_VISIBLE * item.sprite.mask.sum():
            expected.append((*map(int, box), kind))
    got = [
        (*map(int, box), int(kind)) for box, kind in zip(rendered.boxes_xyxy, rendered.class_ids, strict=True)
    ]
    assert got == expected
    assert got, "a busy frame holds objects"


@pytest.mark.parametrize("seed", range(4))
def test_objects_can_be_seen_where_the_truth_says(seed: int) -> None:
    """Without movers the picture differs inside the boxes, and nowhere far from any object or its shadow and glow."""
    scene, rendered, _ = busy_frame(seed)
    scene._layout.movers.clear()
    scene._weather._noise = scene._weather._rain = None
    empty = scene.render(0.0)
    assert not len(empty.class_ids)
    differs = np.abs(rendered.image_bgr.astype(int) - empty.image_bgr).max(axis=2) > 24
    for x0, y0, x1, y1 in rendered.boxes_xyxy.astype(int):
        assert differs[y0:y1, x0:x1].mean() > 0.15


def solid(kind: str, width: int, height: int, left: int, top: int) -> Placed:
    alpha = np.full((height, width), 255, np.uint8)
    return Placed(kind, make_sprite(np.zeros((height, width, 3), np.uint8), alpha, (0, 0)), left, top)


@pytest.mark.parametrize(
    ("cover", "box", "share"),
    [
        (solid("tree", 5, 50, 200, 0), (10, 10, 30, 30), 1.0),  # elsewhere
        (solid("tree", 10, 50, 10, 0), (20, 10, 30, 30), 0.5),  # over its left half
        (solid("tree", 4, 50, 18, 0), (10, 10, 30, 30), 0.8),  # over its middle
        (solid("bus", 90, 90, 0, 0), None, 0.0),  # over all of it
    ],
)
def test_what_is_hidden_is_no_part_of_the_box(
    cover: Placed, box: tuple[int, int, int, int] | None, share: float
) -> None:
    seen = _visible_part([solid("car", 20, 20, 10, 10), cover], 0, (100, 100))
    assert seen == (None if box is None else (box, share))


def test_what_the_frame_cuts_off_is_no_part_of_the_box() -> None:
    assert _visible_part([solid("car", 20, 20, -15, 90)], 0, (100, 100)) == ((0, 90, 5, 100), 0.125)
    assert _visible_part([solid("car", 20, 20, -30, 90)], 0, (100, 100)) is None


@pytest.mark.parametrize(
    ("seed", "size_wh", "message"),
    [
        (1, (63, 100), "64..8192 pixels, got 63x100"),
        (1, (100, 0), "got 100x0"),
        (1, (9000, 100), "got 9000x100"),
        (-1, (100, 100), "must not be negative, got -1"),
    ],
)
def test_a_bad_scene_is_a_clear_error(seed: int, size_wh: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreetScene(seed, size_wh)


@pytest.mark.parametrize("t", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_a_clear_error(t: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        StreetScene(1, SMALL).render(t)


# --- stamps ----------------------------------------------------------------------------------------------
STAMPS = [Stamp(0, 0), Stamp(1, 1), Stamp(2**32 - 1, 2**64 - 1), Stamp(0xAAAAAAAA, 1_785_000_000_123_456_789)]


def jpeg(image: Image, quality: int) -> Image:
    return np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR),
        np.uint8,
    )


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize(
    "size_wh",
    [(128, 90), (200, 131), (320, 180), (427, 240), (641, 361), (1280, 720), (720, 1280), (1920, 1080)],
)
def test_a_stamp_is_read_back(stamp: Stamp, size_wh: tuple[int, int]) -> None:
    image = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
    paint_stamp(image, stamp.frame_id, stamp.time_unix_ns)
    assert read_stamp(image) == stamp
    assert (image[stamp_height(size_wh[1]) :] == 90).all()


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("quality", [30, 60, 95])
def test_a_stamp_survives_jpeg_and_scaling(quality: int, scale: float) -> None:
    rng = np.random.default_rng(quality)
    for _ in range(20):
        image = rng.integers(0, 256, (720, 1280, 3), np.uint8)  # the hardest neighbour a stamp can have
        stamp = Stamp(int(rng.integers(2**32)), int(rng.integers(2**63)))
        paint_stamp(image, stamp.frame_id, stamp.time_unix_ns)
        image = np.asarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), np.uint8
        )
        assert read_stamp(jpeg(image, quality)) == stamp


def frames_without_stamp() -> list[npt.NDArray[np.uint8]]:
    stamped = np.zeros((720, 1280, 3), np.uint8)
    paint_stamp(stamped, 7, 8)
    stamped[: stamp_height(720), :20] = 255 - stamped[: stamp_height(720), :20]  # two bits flipped
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    return [
        np.zeros((720, 1280, 3), np.uint8), StreetScene(1, SMALL).render(0).image_bgr, noise, stamped,
        np.zeros((0, 0, 3), np.uint8), np.zeros((10, 10, 3), np.uint8), np.zeros((720, 1280), np.uint8),
    ]  # fmt: skip


@pytest.mark.parametrize("index", range(7))
def test_no_stamp_is_read_where_none_is(index: int) -> None:
    assert read_stamp(frames_without_stamp()[index]) is None


@pytest.mark.parametrize(
    ("size_wh", "frame_id", "time_ns", "message"),
    [
        ((127, 90), 0, 0, "at least 128x90 px, got 127x90"),
        ((128, 89), 0, 0, "got 128x89"),
        ((640, 360), -1, 0, "got -1 and 0"),
        ((640, 360), 2**32, 0, "got 4294967296"),
        ((640, 360), 0, 2**64, "unsigned bits"),
    ],
)
def test_a_bad_stamp_is_a_clear_error(
    size_wh: tuple[int, int], frame_id: int, time_ns: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paint_stamp(np.zeros((size_wh[1], size_wh[0], 3), np.uint8), frame_id, time_ns)


# --- data sets -------------------------------------------------------------------------------------------
def test_the_validation_set_is_the_same_each_time_and_stamped() -> None:
    first, again = list(validation_set(3, 5, (320, 180))), list(validation_set(3, 5, (320, 180)))
    other = next(iter(validation_set(1, 6, (320, 180))))
    for i, (a, b) in enumerate(zip(first, again, strict=True)):
        np.testing.assert_array_equal(a.image_bgr, b.image_bgr)
        stamp = read_stamp(a.image_bgr)
        assert stamp is not None
        assert stamp.frame_id == i
    assert (other.image_bgr != first[0].image_bgr).any()
    assert list(validation_set(0)) == []


def test_training_batches_are_a_function_of_seed_and_number() -> None:
    first, again = training_chunk(1, 4, size=0.3), training_chunk(1, 4, size=0.3)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images_rgb, b.images_rgb)
        np.testing.assert_array_equal(a.boxes_xywh, b.boxes_xywh)
        assert a.boxes_xywh.shape == (len(a.class_ids), 4)
        assert (np.diff(a.image_index) >= 0).all()
        half = a.boxes_xywh[:, 2:] / 2
        assert (a.boxes_xywh[:, :2] - half > -1e-6).all()
        assert (a.boxes_xywh[:, :2] + half < 1 + 1e-6).all()
    other = training_chunk(2, 4, size=0.3)
    assert any(
        a.images_rgb.shape != b.images_rgb.shape or (a.images_rgb != b.images_rgb).any()
        for a, b in zip(first, other, strict=True)
    )


def test_light_darkens_but_keeps_lamps() -> None:
    assert Light(0.5, 0.5, 0.5)((100, 200, 50)) == (50, 100, 25)


def test_the_street_needs_neither_tensorflow_nor_torch() -> None:
    code = """import sys, model.street, model.street.dataset
print([m for m in ('torch', 'tensorflow', 'ultralytics') if m in sys.modules])"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
