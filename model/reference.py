"""What Ultralytics itself finds in an image: PyTorch's forward in float32, its LetterBox and its NMS.

The yardstick for the exported graph, and how the demo weights are judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from model.contract import STRIDE
from model.evaluate import Prediction

Image = npt.NDArray[np.uint8]


def predict(
    module: Any, image_bgr: Image, *, imgsz: tuple[int, int], auto: bool = True, **nms: Any
) -> Prediction:
    """Detections of one image as `YOLO.predict` gives them (which cannot run without torchvision's operators).

    `image_bgr`: uint8 [H, W, 3]. Boxes come in pixels of the image. For the rest see the steps below.
    """
    letterboxed = letterbox(image_bgr, imgsz, auto=auto)
    return to_image(forward(module, letterboxed, **nms), letterboxed, image_bgr)


def letterbox(image_bgr: Image, imgsz: tuple[int, int], *, auto: bool = True) -> Image:
    """The network's input uint8 [h, w, 3] BGR for an image at `imgsz` = (height, width).

    `auto`: the smallest rectangle that holds the image, as `predict` does, instead of all of imgsz.
    """
    return np.asarray(LetterBox(imgsz, auto=auto, stride=STRIDE)(image=image_bgr), np.uint8)


def forward(
    module: Any, letterboxed_bgr: Image, *, conf: float, iou: float, max_det: int, max_nms: int = 30_000
) -> Prediction:
    """Forward and NMS of a DetectionModel in eval mode; boxes in pixels of the letterboxed image.

    `max_nms`: candidates that go into the NMS, the best by score.
    """
    planes = np.ascontiguousarray(letterboxed_bgr[..., ::-1].transpose(2, 0, 1))  # RGB, [3, h, w]
    with torch.inference_mode():
        raw = module(torch.from_numpy(planes)[None].float() / 255)[0]  # [1, 4 + classes, anchors]
    # The time limit is for servers; a verdict must not depend on the machine's speed.
    rows = non_max_suppression(raw, conf, iou, max_det=max_det, max_nms=max_nms, max_time_img=3600)[0]
    found = rows.numpy()
    return Prediction(found[:, :4].astype(np.float32), found[:, 4], found[:, 5].astype(np.int64))


def to_image(found: Prediction, letterboxed_bgr: Image, image_bgr: Image) -> Prediction:
    """The same detections with boxes in pixels of the image, clipped to it."""
    boxes = scale_boxes(letterboxed_bgr.shape[:2], found.boxes_xyxy.copy(), image_bgr.shape[:2])
    return Prediction(np.asarray(boxes, np.float32), found.scores, found.class_ids)
