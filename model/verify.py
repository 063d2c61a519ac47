"""Does the SavedModel find what Ultralytics' PyTorch model finds? `sightline verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tensorflow.python.framework import errors

from model import reference, weights
from model.contract import ModelMetadata
from model.evaluate import MapResult, Prediction, evaluate_map, street_truth
from model.export import read_metadata
from model.matching import match
from model.runner import Runner
from model.street import CLASS_NAMES
from model.street.dataset import validation_set

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
VIDEO_STEP = 40  # of a video every 40th frame is taken: neighbours hardly differ


@dataclass(frozen=True)
class Tolerance:
    """What still counts as the same: of the reference's detections that score `min_score` or more, the share
    `matched` must have a partner at IoU `iou` or more, and as few may be extra; partners differ by at most
    `box_px` pixels and `score`, where these are given."""

    min_score: float
    iou: float
    matched: float
    box_px: float | None = None
    score: float | None = None


# The network and its NMS, on the very pixels that PyTorch gets.
NETWORK = {
    "fp32": Tolerance(min_score=0.0, iou=0.5, matched=1.0, box_px=0.5, score=0.005),
    "bf16": Tolerance(min_score=0.4, iou=0.9, matched=0.98),
}
# The whole way from the file. OpenCV's resize and TensorFlow's round some pixels to neighbouring grey levels,
# which small and faint things feel: most where a small image is scaled up.
WHOLE = {
    "fp32": Tolerance(min_score=0.4, iou=0.9, matched=0.98, box_px=1.0, score=0.02),
    "bf16": Tolerance(min_score=0.4, iou=0.9, matched=0.98),
}
# mAP50-95 on the synthetic street that the SavedModel may lose, in points (hundredths).
MAP_POINTS = {"fp32": 0.1, "bf16": 0.5}
BORDER = 0.005  # a reference's score this near the threshold may fall on either side of it


@dataclass
class Comparison:
    """Reference against SavedModel over some images: counts of detections, and the largest differences of
    partners, in pixels and in score."""

    tolerance: Tolerance
    expected: int = 0
    matched: int = 0
    extra: int = 0
    box_px: float = 0.0
    score: float = 0.0

    def add(self, reference: Prediction, found: Prediction, conf: float) -> None:
        """Count one image. `reference` was asked at BORDER below `conf`, so that every find may have a partner."""
        lowest = self.tolerance.min_score
        wanted = reference.scores >= max(lowest, conf + BORDER)
        pairs = match(reference, found, self.tolerance.iou)
        paired = {j for _, j in pairs}
        self.expected += int(wanted.sum())
        self.extra += sum(bool(s >= lowest) and j not in paired for j, s in enumerate(found.scores))
        for i, j in pairs:
            if wanted[i]:
                self.matched += 1
                box = np.abs(reference.boxes_xyxy[i] - found.boxes_xyxy[j]).max()
                self.box_px = max(self.box_px, float(box))
                self.score = max(self.score, abs(float(reference.scores[i] - found.scores[j])))

    @property
    def passed(self) -> bool:
        """Whether all is within the tolerance. No detection at all proves nothing, and does not pass."""
        allowed = self.tolerance
        return (
            self.expected > 0
            and self.matched >= allowed.matched * self.expected
            and self.extra <= (1 - allowed.matched) * self.expected
            and (allowed.box_px is None or self.box_px <= allowed.box_px)
            and (allowed.score is None or self.score <= allowed.score)
        )


@dataclass(frozen=True)
class Compared:
    """Images compared: `network` on letterboxed pixels, in pixels of the network's input; `whole` from the file,
    in pixels of the image."""

    images: int
    network: Comparison
    whole: Comparison


@dataclass(frozen=True)
class Street:
    """mAP on the synthetic street of PyTorch in float32 (`reference`) and of the SavedModel (`exported`), which may
    lose `allowed_points` of mAP50-95."""

    allowed_points: float
    reference: MapResult
    exported: MapResult

    @property
    def lost_points(self) -> float:
        """mAP50-95 that the SavedModel lost, in points; negative where it gained."""
        return 100 * (self.reference.map50_95 - self.exported.map50_95)

    @property
    def passed(self) -> bool:
        """Whether the loss is within what is allowed."""
        return self.lost_points <= self.allowed_points


class Verifier:
    """One exported version beside the weights that it was made from."""

    def __init__(self, folder: Path, weights_spec: str, *, trust: bool = False) -> None:
        """Raises ValueError (also WeightsError) where either can't be had or they don't belong together."""
        self.meta: ModelMetadata = read_metadata(folder)
        loaded = weights.load(weights.locate(weights_spec), trust=trust)
        if loaded.sha256 != self.meta.weights_sha256:
            raise ValueError(
                f"{folder} was exported from {self.meta.weights} with sha256 {self.meta.weights_sha256}, "
                f"{weights_spec} has {loaded.sha256}: name the weights that it was made from"
            )
        self._module = loaded.module
        self._runner = Runner(folder)

    def compare(self, files: Iterable[tuple[str, bytes]]) -> Compared:
        """Compare on JPEG or PNG files, given as name and bytes. Raises ValueError naming one that can't be decoded."""
        meta = self.meta
        images = 0
        network, whole = Comparison(NETWORK[meta.precision]), Comparison(WHOLE[meta.precision])
        for images, (name, file) in enumerate(files, 1):  # noqa: B007  # the last one's number is the count
            image = _decode(name, file)
            letterboxed = reference.letterbox(image, meta.imgsz)
            expected = self._forward(letterboxed, meta.conf - BORDER)
            network.add(_clipped(expected, letterboxed), self._runner.letterboxed(letterboxed), meta.conf)
            try:
                found = self._runner.file(file, (image.shape[1], image.shape[0]))
            except errors.InvalidArgumentError as error:
                raise ValueError(f"{name}: the SavedModel refuses it: {error.message}") from error
            whole.add(reference.to_image(expected, letterboxed, image), found, meta.conf)
        return Compared(images, network, whole)

    def street(self, images: int) -> Street | None:
        """mAP on unseen frames of the synthetic street; None for weights that do not know its classes.

        Both answer at the export's own confidence threshold. Frames travel as PNG: no loss but the model's.
        """
        if tuple(self.meta.names) != tuple(CLASS_NAMES):
            return None
        truths, expected, exported = [], [], []
        for frame in validation_set(images):
            image = frame.image_bgr
            truths.append(street_truth(frame, self.meta.imgsz))
            letterboxed = reference.letterbox(image, self.meta.imgsz)
            found = self._forward(letterboxed, self.meta.conf)
            expected.append(reference.to_image(found, letterboxed, image))
            exported.append(self._runner.file(encode_png(image), (image.shape[1], image.shape[0])))
        return Street(
            MAP_POINTS[self.meta.precision],
            evaluate_map(expected, truths, CLASS_NAMES),
            evaluate_map(exported, truths, CLASS_NAMES),
        )

    def _forward(self, letterboxed_bgr: npt.NDArray[np.uint8], conf: float) -> Prediction:
        meta = self.meta
        return reference.forward(self._module, letterboxed_bgr, conf=conf, iou=meta.iou, max_det=meta.max_det)


def image_files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """The images of files, folders and videos (every VIDEO_STEP-th frame, as PNG), as name and bytes.

    Raises ValueError for a path that is none of these, or holds no image.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise ValueError(f"{path}: expected JPEG or PNG files in this folder, found none")
            yield from ((str(p), p.read_bytes()) for p in inside)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield str(path), path.read_bytes()
        elif path.is_file():
            yield from _video_frames(path)
        else:
            raise ValueError(f"{path}: no such file or folder")


def encode_png(image_bgr: npt.NDArray[np.uint8]) -> bytes:
    """A lossless file of the image, uint8 [H, W, 3]."""
    _, png = cv2.imencode(".png", image_bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return png.tobytes()


def _clipped(found: Prediction, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
    """Boxes cut at the image's edges, as the graph's are."""
    height, width = image_bgr.shape[:2]
    return replace(found, boxes_xyxy=np.clip(found.boxes_xyxy, 0, (width, height, width, height)))


def _video_frames(path: Path) -> Iterator[tuple[str, bytes]]:
    video = cv2.VideoCapture(str(path))
    index = 0
    try:
        while True:
            more, image = video.read()
            if not more:
                break
            if index % VIDEO_STEP == 0:
                yield f"{path}, frame {index}", encode_png(np.asarray(image, np.uint8))
            index += 1
    finally:
        video.release()
    if not index:
        raise ValueError(f"{path}: expected an image or a video, OpenCV can read neither from it")


def _decode(name: str, file: bytes) -> npt.NDArray[np.uint8]:
    # The graph does not turn images by their EXIF orientation, so the reference must not either. A frame so
    # large that the graph decodes it at reduced scale is decoded in full here: the comparison includes that.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(file, np.uint8), flags) if file else None
    if image is None:
        raise ValueError(f"{name}: expected a JPEG or PNG image, OpenCV cannot decode it")
    return np.asarray(image, np.uint8)
