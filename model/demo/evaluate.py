"""Print the demo weights' mAP on frames of the synthetic street that training never showed.

    python -m model.demo.evaluate --images 200

PyTorch's forward in float32, OpenCV's NMS (class by class, IoU 0.7), frames letterboxed to 640
as Ultralytics' predict does (1280x720 to 640x384), or to 640x640 with --square. At a confidence of
0.001, as mAP is usually given, and at 0.25, as the exported model answers, which cannot be higher;
there objects of less than 8 pixels of the network's input are neither right nor wrong. Then with every
object that the street labels, which go down to 5 such pixels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")  # before ultralytics is imported: it must not use the network

import cv2
import numpy as np
import numpy.typing as npt
import torch
from ultralytics import YOLO

from model.contract import DEFAULT_CONF, DEFAULT_IMGSZ, DEFAULT_IOU, DEFAULT_MAX_DET, LETTERBOX_GREY
from model.demo import DEMO_WEIGHTS
from model.evaluate import MapResult, Prediction, Truth, evaluate_map, street_truth
from model.letterbox import fit
from model.street import CLASS_NAMES
from model.street.dataset import Frame, validation_set
from model.street.pen import Image

LOW_CONF = 0.001  # Ultralytics' val


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


def suppressed(
    rows: npt.NDArray[np.float32], conf: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes xyxy [K, 4], scores [K] and class ids [K] of an image, best first, from the network's answer.

    rows: float32 [anchors, 4 + classes], each a centre, a size and a score per class. Each anchor stands for its best
    class; NMS works class by class.
    """
    ids, scores = rows[:, 4:].argmax(axis=1), rows[:, 4:].max(axis=1)
    likely = scores > conf
    ids, scores, boxes = ids[likely], scores[likely], rows[likely, :4]
    boxes[:, :2] -= boxes[:, 2:] / 2  # centre to corner
    # Its type stub asks for lists; arrays are faster.
    found = cv2.dnn.NMSBoxesBatched(boxes, scores, ids, conf, DEFAULT_IOU)  # type: ignore[arg-type]
    kept = np.asarray(found, np.int64).reshape(-1)
    kept = kept[np.argsort(-scores[kept], kind="stable")][:DEFAULT_MAX_DET]
    boxes[:, 2:] += boxes[:, :2]
    return boxes[kept], scores[kept], ids[kept]


def predict(module: Any, frames: Sequence[Frame], imgsz: int, square: bool, conf: float) -> list[Prediction]:
    """Each frame's detections by PyTorch's forward of a `DetectionModel` in eval mode."""
    out = []
    for frame in frames:
        pixels, gain, left, top = letterboxed(frame.image_bgr, imgsz, square)
        with torch.inference_mode():
            rows = module(pixels)[0][0].T.numpy()
        boxes, scores, ids = suppressed(rows, conf)
        height, width = frame.image_bgr.shape[:2]
        shift, limit = np.asarray([left, top, left, top]), np.asarray([width, height, width, height])
        out.append(Prediction(np.clip((boxes - shift) / gain, 0, limit).astype(np.float32), scores, ids))
    return out


@dataclass(frozen=True)
class Evaluation:
    """mAP at a confidence of LOW_CONF and of DEFAULT_CONF for objects that the network can resolve, and at
    LOW_CONF for every object that the street labels, down to 10 px of a 1280 px wide frame."""

    low: MapResult
    high: MapResult
    every_object: MapResult


def evaluate(weights: Path, images: int, seed: int, imgsz: int, square: bool) -> Evaluation:
    """mAP on `images` unseen frames."""
    module = YOLO(str(weights), task="detect").model.float().eval().fuse(verbose=False)
    module = module.to(memory_format=torch.channels_last)
    frames = list(validation_set(images, seed))
    truths = [street_truth(f, (imgsz, imgsz)) for f in frames]
    low = predict(module, frames, imgsz, square, LOW_CONF)
    high = []
    for p in low:
        keep = p.scores >= DEFAULT_CONF
        high.append(Prediction(p.boxes_xyxy[keep], p.scores[keep], p.class_ids[keep]))
    labelled = [Truth(f.boxes_xyxy, f.class_ids, f.ignored_xyxy, f.ignored_ids) for f in frames]
    return Evaluation(
        *(evaluate_map(*pair, CLASS_NAMES) for pair in ((low, truths), (high, truths), (low, labelled)))
    )


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
    found = evaluate(args.weights, args.images, args.seed, args.imgsz, args.square)
    rows = {
        f"conf {LOW_CONF}": found.low,
        f"conf {DEFAULT_CONF}": found.high,
        f"conf {LOW_CONF}, objects of any labelled size": found.every_object,
    }
    for title, result in rows.items():
        means = f"mAP50 {result.map50:.3f}  mAP50-95 {result.map50_95:.3f}"
        print(f"{title}: {means}  ({args.images} unseen frames, seed {args.seed})")
        for name, one in result.per_class.items():
            print(f"  {name:8} {one.objects:5} objects  AP50 {one.ap50:.3f}  AP50-95 {one.ap50_95:.3f}")


if __name__ == "__main__":
    main()
