"""Print the demo weights' mAP on frames of the synthetic street that training never showed.

    python -m model.demo.evaluate --images 200

PyTorch's forward in float32, Ultralytics' own NMS (class by class, IoU 0.7), frames letterboxed to 640
as Ultralytics' predict does (1280x720 to 640x384), or to 640x640 with --square. Two rows: at a
confidence of 0.001, as mAP is usually given, and at 0.25, as the exported model answers; the second
cannot be higher.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")  # before ultralytics is imported: it must not use the network

import cv2
import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.utils.nms import non_max_suppression

from model.contract import DEFAULT_CONF, DEFAULT_IMGSZ, DEFAULT_IOU, DEFAULT_MAX_DET, LETTERBOX_GREY
from model.demo import DEMO_WEIGHTS
from model.evaluate import MapResult, Prediction, Truth, evaluate_map
from model.letterbox import fit
from model.street import CLASS_NAMES
from model.street.dataset import Frame, validation_set
from model.street.pen import Image

LOW_CONF = 0.001  # Ultralytics' val
_CANDIDATES = 2000  # per image into the NMS, the best by score; more only cost time where 300 come out


def letterboxed(image_bgr: Image, imgsz: int, square: bool) -> tuple[torch.Tensor, float, int, int]:
    """The network's input float32 [1, 3, h, w] RGB 0..1, and gain, left and top to come back by."""
    box = fit((image_bgr.shape[0], image_bgr.shape[1]), (imgsz, imgsz))
    height, width = (imgsz, imgsz) if square else box.input_hw
    top, left = (height - box.resized_hw[0]) // 2, (width - box.resized_hw[1]) // 2
    canvas = np.full((height, width, 3), LETTERBOX_GREY, np.uint8)
    resized = cv2.resize(image_bgr, box.resized_hw[::-1], interpolation=cv2.INTER_LINEAR)
    canvas[top : top + box.resized_hw[0], left : left + box.resized_hw[1]] = resized
    planes = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(planes)[None].float() / 255, box.gain, left, top


def predict(module: Any, frames: Sequence[Frame], imgsz: int, square: bool, conf: float) -> list[Prediction]:
    """Each frame's detections by PyTorch's forward of a `DetectionModel` in eval mode."""
    out = []
    for frame in frames:
        pixels, gain, left, top = letterboxed(frame.image_bgr, imgsz, square)
        with torch.inference_mode():
            raw = module(pixels)[0]  # [1, 4 + classes, anchors]
        rows = non_max_suppression(raw, conf, DEFAULT_IOU, max_det=DEFAULT_MAX_DET, max_nms=_CANDIDATES)[
            0
        ].numpy()
        # rows [K, 6]: xyxy in the network's input, score, class
        boxes = (rows[:, :4] - (left, top, left, top)) / gain
        height, width = frame.image_bgr.shape[:2]
        boxes = np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)
        out.append(Prediction(boxes, rows[:, 4], rows[:, 5].astype(np.int64)))
    return out


def evaluate(weights: Path, images: int, seed: int, imgsz: int, square: bool) -> tuple[MapResult, MapResult]:
    """mAP on `images` unseen frames at a confidence of LOW_CONF and of DEFAULT_CONF."""
    module = YOLO(str(weights), task="detect").model.float().eval()
    frames = list(validation_set(images, seed))
    truths = [Truth(f.boxes_xyxy, f.class_ids, f.ignored_xyxy, f.ignored_ids) for f in frames]
    low = predict(module, frames, imgsz, square, LOW_CONF)
    high = []
    for p in low:
        keep = p.scores >= DEFAULT_CONF
        high.append(Prediction(p.boxes_xyxy[keep], p.scores[keep], p.class_ids[keep]))
    return evaluate_map(low, truths, CLASS_NAMES), evaluate_map(high, truths, CLASS_NAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, default=DEMO_WEIGHTS)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="which unseen frames")
    parser.add_argument("--imgsz", type=int, default=DEFAULT_IMGSZ)
    parser.add_argument(
        "--square", action="store_true", help="letterbox to a square, not to the frame's rectangle"
    )
    args = parser.parse_args()
    low, high = evaluate(args.weights, args.images, args.seed, args.imgsz, args.square)
    for conf, result in ((LOW_CONF, low), (DEFAULT_CONF, high)):
        means = f"mAP50 {result.map50:.3f}  mAP50-95 {result.map50_95:.3f}"
        print(f"conf {conf}: {means}  ({args.images} unseen frames, seed {args.seed})")
        for name, one in result.per_class.items():
            print(f"  {name:8} {one.objects:5} objects  AP50 {one.ap50:.3f}  AP50-95 {one.ap50_95:.3f}")


if __name__ == "__main__":
    main()
