"""Mean average precision of detections against known truth, as COCO counts it (pycocotools)."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from model.contract import FINEST_STRIDE
from model.letterbox import fit
from model.street.dataset import Frame

MAX_DETECTIONS = (
    300  # of one image, the best by score; COCO's own 100 is too few for crowds at a low threshold
)


def _no_boxes() -> npt.NDArray[np.float32]:
    return np.zeros((0, 4), np.float32)


def _no_ids() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model found in one image. Boxes are xyxy pixels of the image."""

    boxes_xyxy: npt.NDArray[np.float32]  # [K, 4]
    scores: npt.NDArray[np.float32]  # [K], 0..1
    class_ids: npt.NDArray[np.int64]  # [K], from 0


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in one image. An ignored object may be found or missed: neither counts."""

    boxes_xyxy: npt.NDArray[np.float32]  # [K, 4]
    class_ids: npt.NDArray[np.int64]  # [K], from 0
    ignored_xyxy: npt.NDArray[np.float32] = field(default_factory=_no_boxes)  # [M, 4]
    ignored_ids: npt.NDArray[np.int64] = field(default_factory=_no_ids)  # [M]

    def ignoring_below(self, side_px: float) -> Truth:
        """The same, but objects whose box is narrower or lower than `side_px` are ignored."""
        small = (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf) < side_px
        return Truth(
            self.boxes_xyxy[~small],
            self.class_ids[~small],
            np.concatenate([self.ignored_xyxy, self.boxes_xyxy[small]]),
            np.concatenate([self.ignored_ids, self.class_ids[small]]),
        )


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class: how many objects were asked for, and the average precision (NaN if there were none)."""

    objects: int
    ap50: float
    ap50_95: float


@dataclass(frozen=True, slots=True)
class MapResult:
    """Means over the classes that occur in the truth; 0..1, NaN if none does."""

    map50: float
    map50_95: float
    per_class: dict[str, ClassResult]


def street_truth(frame: Frame, imgsz: tuple[int, int]) -> Truth:
    """A synthetic frame's truth for a network of `imgsz` = (height, width).

    Objects narrower or lower than one cell of its finest feature map, 8 pixels of its input, are ignored.
    """
    gain = fit((frame.image_bgr.shape[0], frame.image_bgr.shape[1]), imgsz).gain
    truth = Truth(frame.boxes_xyxy, frame.class_ids, frame.ignored_xyxy, frame.ignored_ids)
    return truth.ignoring_below(FINEST_STRIDE / gain)


def evaluate_map(
    predictions: Sequence[Prediction], truths: Sequence[Truth], class_names: Sequence[str]
) -> MapResult:
    """mAP at IoU 0.5, and averaged over IoU 0.5, 0.55 .. 0.95; predictions[i] is about truths[i]'s image.

    An ignored object is COCO's `iscrowd`: detections of its class that lie mostly inside it do not count.

    Raises ValueError if the two differ in length, arrays do not fit together or a class id has no name.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"expected a prediction for each of {len(truths)} images, got {len(predictions)}")
    for i, (found, truth) in enumerate(zip(predictions, truths, strict=True)):
        _check(i, "prediction", found.boxes_xyxy, found.class_ids, len(class_names), found.scores)
        _check(i, "truth", truth.boxes_xyxy, truth.class_ids, len(class_names))
        _check(i, "ignored truth", truth.ignored_xyxy, truth.ignored_ids, len(class_names))
    objects = np.bincount(
        np.concatenate([_no_ids(), *(truth.class_ids for truth in truths)]), minlength=len(class_names)
    )
    if not objects.sum():
        return MapResult(math.nan, math.nan, {n: ClassResult(0, math.nan, math.nan) for n in class_names})
    precision = _precision(predictions, truths, len(class_names))  # [10 IoUs, 101 recalls, classes]
    per_class = {}
    for i, name in enumerate(class_names):
        ap = precision[:, :, i].mean(axis=1) if objects[i] else np.full(len(precision), math.nan)
        per_class[name] = ClassResult(int(objects[i]), float(ap[0]), float(ap.mean()))
    present = [result for result in per_class.values() if result.objects]
    return MapResult(
        float(np.mean([r.ap50 for r in present])), float(np.mean([r.ap50_95 for r in present])), per_class
    )


def _check(
    image: int,
    what: str,
    boxes: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int64],
    classes: int,
    scores: npt.NDArray[np.float32] | None = None,
) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or ids.shape != boxes.shape[:1]:
        raise ValueError(
            f"image {image}: expected the {what}'s boxes as [K, 4] and class ids as [K], "
            f"got {boxes.shape} and {ids.shape}"
        )
    if scores is not None and scores.shape != ids.shape:
        raise ValueError(f"image {image}: expected {len(ids)} scores, got {scores.shape}")
    if ids.size and (ids.min() < 0 or ids.max() >= classes):
        raise ValueError(
            f"image {image}: {what} has class ids {ids.min()}..{ids.max()}, there are {classes} classes"
        )


def _precision(
    predictions: Sequence[Prediction], truths: Sequence[Truth], classes: int
) -> npt.NDArray[np.float64]:
    """COCOeval's interpolated precision [IoU, recall, class]; 0 where a recall is never reached."""
    annotations: list[dict[str, object]] = []
    for image, truth in enumerate(truths, 1):
        for crowd, boxes, ids in (
            (0, truth.boxes_xyxy, truth.class_ids),
            (1, truth.ignored_xyxy, truth.ignored_ids),
        ):
            for (x0, y0, x1, y1), kind in zip(boxes.tolist(), ids.tolist(), strict=True):
                box = [x0, y0, x1 - x0, y1 - y0]
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": image, "category_id": kind + 1,
                        "bbox": box, "area": box[2] * box[3], "iscrowd": crowd,
                    }
                )  # fmt: skip
    rows = []  # image, x, y, width, height, score, class
    for image, found in enumerate(predictions, 1):
        corner, size = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        number = np.full(len(found.scores), image)
        rows.append(np.column_stack([number, corner, size, found.scores, found.class_ids + 1]))
    table = np.concatenate([np.zeros((0, 7)), *rows])
    if not len(table):  # pycocotools cannot take an empty list; nothing found is precision 0 everywhere
        return np.zeros((10, 101, classes))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i + 1} for i in range(len(truths))],
            "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
            "annotations": annotations,
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(table), "bbox")
        run.params.maxDets = [MAX_DETECTIONS]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    precision = np.asarray(run.eval["precision"], np.float64)  # [IoU, recall, class, area, maxDets]
    return np.maximum(precision[..., 0, 0], 0)
