"""Frames of the synthetic street with their truth, for training and validation, which never share a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.street.pen import Image
from model.street.scene import StreetScene
from model.street.stamp import paint_stamp

_VALIDATION_SCENES = 1 << 40  # scene seeds from here on are for validation; training's stay below
_TRAINING_SCENES = 1 << 31
_GREY = 114  # the border's level, as in Ultralytics' LetterBox
_FRAMES_PER_SCENE = 5  # painting a scene's backdrop costs as much as several frames


@dataclass(frozen=True, slots=True)
class Frame:
    """An image and its objects. Boxes are xyxy pixels; ids index `model.street.CLASS_NAMES`."""

    image_bgr: Image  # uint8 [H, W, 3]
    boxes_xyxy: npt.NDArray[np.float32]  # [K, 4]
    class_ids: npt.NDArray[np.int64]  # [K]
    ignored_xyxy: npt.NDArray[np.float32]  # [M, 4]
    ignored_ids: npt.NDArray[np.int64]  # [M]


def validation_set(n: int, seed: int = 0, size_wh: tuple[int, int] = (1280, 720)) -> Iterator[Frame]:
    """n stamped frames, each of another scene that training never shows; the same for the same n and seed."""
    for i in range(n):
        scene_seed = _VALIDATION_SCENES + seed * 1_000_000 + i
        rng = np.random.default_rng(scene_seed)
        rendered = StreetScene(scene_seed, size_wh).render(float(rng.uniform(0, 3600)))
        paint_stamp(rendered.image_bgr, i, 1_700_000_000_000_000_000 + i)
        yield Frame(
            rendered.image_bgr,
            rendered.boxes_xyxy,
            rendered.class_ids,
            rendered.ignored_xyxy,
            rendered.ignored_ids,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees."""

    images_rgb: Image  # uint8 [N, H, W, 3]
    image_index: npt.NDArray[np.int64]  # [K] which image a box belongs to, rising
    class_ids: npt.NDArray[np.int64]  # [K]
    boxes_xywh: npt.NDArray[np.float32]  # [K, 4] centre and size, as shares of the image


# Height, width and number of images of a batch: whole 16:9 frames as the network has them, and cut-outs.
_SHAPES = ((384, 640, 8), (384, 640, 8), (320, 320, 18))
CHUNK = 3  # batches that share their scenes


def training_chunk(seed: int, index: int, size: float = 1.0) -> list[Batch]:
    """The CHUNK batches number index*CHUNK and following of training run `seed`, a pure function of both.

    size: a factor on images per batch (for a quick try).
    """
    rng = np.random.default_rng([seed, index])
    shapes = [_SHAPES[int(i)] for i in rng.integers(0, len(_SHAPES), CHUNK)]
    counts = [max(1, round(n * size)) for _, _, n in shapes]
    windows = [(h, w) for (h, w, _), n in zip(shapes, counts, strict=True) for _ in range(n)]
    order = rng.permutation(len(windows))
    samples: dict[int, tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.int64]]] = {}
    for first in range(0, len(order), _FRAMES_PER_SCENE):
        scene = _training_scene(rng)
        for slot in order[first : first + _FRAMES_PER_SCENE]:
            samples[int(slot)] = _sample(scene, windows[int(slot)], rng)
    batches, done = [], 0
    for count in counts:
        batches.append(_batch([samples[done + i] for i in range(count)]))
        done += count
    return batches


def _training_scene(rng: np.random.Generator) -> StreetScene:
    """A scene at the size at which the network would see it, give or take."""
    scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.5)))) if rng.random() < 0.7 else 1.0
    if rng.random() < 0.1:
        scale = 2.0  # a whole frame as a camera gives it; scaled down with the sample
    aspect = float(rng.choice([9 / 16, 9 / 16, 9 / 16, 3 / 4, 1.0]))
    width = max(320, round(640 * scale))
    return StreetScene(int(rng.integers(_TRAINING_SCENES)), (width, max(180, round(width * aspect))))


def _sample(
    scene: StreetScene, window_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """One augmented image uint8 [h, w, 3] BGR of the window's size with its boxes xyxy [K, 4] and ids [K]."""
    rendered = scene.render(float(rng.uniform(0, 3600)))
    image, boxes, ids = rendered.image_bgr, rendered.boxes_xyxy, rendered.class_ids
    if rng.random() < 0.6:
        paint_stamp(image, int(rng.integers(2**32)), int(rng.integers(2**63)))
    if image.shape[1] >= 1280:
        image, boxes = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5), np.uint8), boxes * np.float32(0.5)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        flip, width = np.asarray([-1, 1, -1, 1], np.float32), np.float32(image.shape[1])
        boxes = boxes[:, [2, 1, 0, 3]] * flip + np.asarray([width, 0, width, 0], np.float32)
    return _window(_distorted(image, rng), boxes, ids, window_hw, rng)


def _distorted(image: Image, rng: np.random.Generator) -> Image:
    """Another camera: gain, offset, colour cast, blur, noise of its JPEG encoder."""
    if rng.random() < 0.7:
        gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
        levels = np.arange(256)[:, None] * gain + rng.uniform(-18, 18)
        table = np.clip(levels, 0, 255).astype(np.uint8).reshape(1, 256, 3)
        image = np.asarray(cv2.LUT(image, table), np.uint8)
    if rng.random() < 0.1:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), 0), np.uint8)
    if rng.random() < 0.6:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return image


def _window(
    image: Image,
    boxes: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int64],
    window_hw: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cut or pad the image to the window; keep the boxes of which enough is left."""
    h, w = window_hw
    y, x = (
        int(rng.integers(min(0, have - want), max(0, have - want) + 1))
        for have, want in zip(image.shape[:2], window_hw, strict=True)
    )
    out = np.full((h, w, 3), _GREY, np.uint8)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, image.shape[1]), min(y + h, image.shape[0])
    out[y0 - y : y1 - y, x0 - x : x1 - x] = image[y0:y1, x0:x1]
    moved = boxes - np.asarray([x, y, x, y], np.float32)
    cut = np.clip(moved, 0, [w, h, w, h]).astype(np.float32)
    size, before = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
    keep = (size.prod(axis=1) > 0.4 * before.prod(axis=1)) & (size.min(axis=1) >= 3)
    return out, cut[keep], ids[keep]


def _batch(samples: list[tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.int64]]]) -> Batch:
    images = np.stack([image[..., ::-1] for image, _, _ in samples])
    h, w = images.shape[1:3]
    boxes = np.concatenate([boxes for _, boxes, _ in samples]) / np.asarray([w, h, w, h], np.float32)
    xywh = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    index = np.repeat(np.arange(len(samples)), [len(ids) for _, _, ids in samples])
    return Batch(images, index, np.concatenate([ids for _, _, ids in samples]), xywh.astype(np.float32))
