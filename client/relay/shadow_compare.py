"""Two models on one picture: which detections are the same object, and how they differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from client.wire import relay_pb2 as pb
from model.matching import iou_matrix

IOU = 0.5  # from here on two boxes are the same object, as in mAP50
# An object counts where at least one model is that sure of it. Around the confidence of 0.25 that models cut off at,
# two good models differ by which side of the cut a score of 0.24 or 0.26 falls on.
SURE = 0.4
# Shares of the picture's area, from COCO's 32² and 96² pixels in its pictures of 640x480.
SMALL, LARGE = 0.0033, 0.03
MAX_LABELS, OTHER = 100, "other"  # a broken model could make up labels without end
MAX_LABEL_CHARS = 40


@dataclass(slots=True)
class Difference:
    """What differs in one picture or in many (`add`). Objects are those that one model is sure of.

    `same`: objects of one class in both, by class. `flips`: of another class in the candidate: (stable's, candidate's).
    `missed`, `extra`: objects that the candidate, or the stable model, does not have: (class, size).
    Over the objects that both have: `pairs` of them, the sum of their IoUs, and of the candidate's score less the
    stable model's (`drift`).
    """

    same: Counter[str] = field(default_factory=Counter)
    flips: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    extra: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: int = 0
    iou: float = 0.0
    drift: float = 0.0

    def add(self, other: Difference) -> None:
        """Count another picture's in."""
        self.same += other.same
        self.flips += other.flips
        self.missed += other.missed
        self.extra += other.extra
        self.pairs += other.pairs
        self.iou += other.iou
        self.drift += other.drift

    def sides(self, label: str | None = None) -> tuple[int, int]:
        """Detections of both models (of one class) that have a partner, and all of them. Their ratio is F1:
        2 TP / (2 TP + FN + FP), where a flip misses one class and adds another."""
        if label is None:
            partners = 2 * self.same.total()
            return partners, partners + 2 * self.flips.total() + self.missed.total() + self.extra.total()
        partners = 2 * self.same[label]
        alone = sum(n for pair, n in self.flips.items() for one in pair if one == label)
        alone += sum(
            n for counts in (self.missed, self.extra) for (one, _), n in counts.items() if one == label
        )
        return partners, partners + alone

    @property
    def labels(self) -> set[str]:
        """The classes that it has objects of."""
        alone = {one for pair in self.flips for one in pair}
        return alone | set(self.same) | {label for label, _ in (*self.missed, *self.extra)}

    @property
    def agreement(self) -> float:
        """F1; 1 where neither has anything."""
        partners, sides = self.sides()
        return partners / sides if sides else 1.0


def compare(stable: pb.Detections, candidate: pb.Detections, known: set[str]) -> Difference:
    """What the candidate sees otherwise. Boxes are ymin, xmin, ymax, xmax in 0..1.

    Partners overlap by IoU or more; the assignment has the largest sum of overlaps, a pair of one class before any
    of two (Hungarian, scipy). `known`: the classes seen so far; it takes up new ones, to MAX_LABELS.
    """
    boxes_a, scores_a, labels_a = _columns(stable, known)
    boxes_b, scores_b, labels_b = _columns(candidate, known)
    overlap = iou_matrix(boxes_a, boxes_b)
    near = overlap >= IOU
    same = np.array(labels_a, object)[:, None] == np.array(labels_b, object)[None, :]
    rows, columns = linear_sum_assignment(np.where(near, overlap + same, 0.0), maximize=True)
    found = Difference()
    alone_a, alone_b = set(range(len(labels_a))), set(range(len(labels_b)))
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        if not near[i, j]:
            continue
        alone_a.discard(i)
        alone_b.discard(j)
        if max(scores_a[i], scores_b[j]) < SURE:
            continue
        if same[i, j]:
            found.same[labels_a[i]] += 1
        else:
            found.flips[labels_a[i], labels_b[j]] += 1
        found.pairs += 1
        found.iou += float(overlap[i, j])
        found.drift += float(scores_b[j] - scores_a[i])
    found.missed.update((labels_a[i], size_of(boxes_a[i])) for i in alone_a if scores_a[i] >= SURE)
    found.extra.update((labels_b[j], size_of(boxes_b[j])) for j in alone_b if scores_b[j] >= SURE)
    return found


def size_of(box: npt.NDArray[np.float32]) -> str:
    """small, medium or large, of a box in 0..1."""
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    return "small" if area < SMALL else "large" if area >= LARGE else "medium"


def _columns(
    found: pb.Detections, known: set[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[str]]:
    """Boxes [K, 4] and scores [K] in 0..1, whatever a broken model answers (NaN is 0), and labels."""
    boxes = np.clip(np.nan_to_num(np.array(found.boxes, np.float32).reshape(-1, 4)), 0, 1)
    scores = np.clip(np.nan_to_num(np.array(found.scores, np.float32)), 0, 1)
    labels = [
        _bounded((label or str(number))[:MAX_LABEL_CHARS], known)
        for label, number in zip(found.labels, found.class_ids, strict=True)
    ]
    return boxes, scores, labels


def _bounded(label: str, known: set[str]) -> str:
    if label not in known:
        if len(known) >= MAX_LABELS:
            return OTHER
        known.add(label)
    return label
