"""The graph gives what PyTorch gives, for every scale, whatever the number of classes and the input's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ultralytics.nn.tasks import DetectionModel

from model.network import Network, UnsupportedModelError
from model.postprocess import candidates
from model.quiet import tf

NO_THRESHOLD = 1e-9


def fused(scale: str, classes: int) -> Any:
    """A YOLOv8 with random weights, its batch norms not trivial, fused."""
    torch.manual_seed(0)
    module = DetectionModel(f"yolov8{scale}.yaml", nc=classes, verbose=False)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
            torch.nn.init.normal_(layer.bias, std=0.2)
            torch.nn.init.normal_(layer.running_mean, std=0.1)
            torch.nn.init.uniform_(layer.running_var, 0.8, 1.2)
    return module.eval().fuse(verbose=False)


def ours(module: Any, images: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Every place's box, x1 y1 x2 y2, and best score, for each image; no place is left out."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        network = Network(module, tf.float32)
        scales = network(tf.constant(images))
        found = session.run([candidates(s, NO_THRESHOLD, network.reg_max) for s in scales])
    by_image = []
    for n in range(len(images)):
        boxes = np.concatenate([boxes[image == n] for image, boxes, _, _ in found])
        scores = np.concatenate([scores[image == n] for image, _, scores, _ in found])
        by_image.append((boxes, scores))
    return by_image


@pytest.mark.parametrize(
    ("scale", "classes", "shape_hw", "count"),
    [
        *((scale, 80, (64, 96), 2) for scale in "nsmlx"),
        # Another number of classes changes the head only.
        ("n", 1, (32, 32), 1),
        ("s", 3, (32, 64), 1),
    ],
)
def test_same_boxes_and_scores(scale: str, classes: int, shape_hw: tuple[int, int], count: int) -> None:
    module = fused(scale, classes)
    images = np.random.default_rng(1).integers(0, 256, (count, *shape_hw, 3), np.uint8)
    with torch.inference_mode():
        raw = module(torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 255)[0].numpy()
    for expected, (boxes, scores) in zip(raw, ours(module, images), strict=True):
        centre, size = expected[:2].T, expected[2:4].T
        np.testing.assert_allclose(
            boxes, np.concatenate([centre - size / 2, centre + size / 2], 1), atol=2e-3
        )
        np.testing.assert_allclose(scores, expected[4:].max(0), atol=1e-5)


def test_refuses_another_architecture() -> None:
    module = DetectionModel("yolo11n.yaml", nc=2, verbose=False).eval().fuse(verbose=False)
    with pytest.raises(
        UnsupportedModelError, match=r"expected a YOLOv8 detection model, got one with .*C3k2"
    ):
        Network(module, tf.float32)


@pytest.mark.parametrize("count", [0, 1, 8, 15])
def test_a_few_places_have_the_boxes_that_they_have_among_all(count: int) -> None:
    """Corners and borders too, of each image of a batch: that is where patches could see what is not there."""
    images = np.random.default_rng(2).integers(0, 256, (2, 96, 64, 3), np.uint8)
    corners = [[0, 0, 0], [1, 0, 7], [0, 11, 0], [1, 11, 7], [0, 5, 0], [1, 5, 7], [0, 0, 3], [1, 11, 4]]
    inside = [[n, row, column] for n in (0, 1) for row in (1, 4, 10) for column in (1, 6)]
    few = np.array([*corners, *inside], np.int64)[:count].reshape(-1, 3)
    everywhere = np.stack(np.meshgrid([0, 1], range(12), range(8), indexing="ij"), -1).reshape(-1, 3)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        scale = Network(fused("n", 3), tf.float32)(tf.constant(images))[0]
        some, every = session.run([scale.box_at(tf.constant(places)) for places in (few, everywhere)])
    expected = [every[(everywhere == place).all(1)][0] for place in few]
    np.testing.assert_allclose(some, np.reshape(expected, some.shape), atol=1e-4)
    assert some.shape == (count, 64)
