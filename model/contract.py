"""What the model's SavedModel takes and gives: names, shapes, dtypes and limits.

The one module that every package may import; it imports neither TensorFlow nor torch.
Output names are those of the TF Object Detection API's exported models and of Vertex AI.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

# --- signature `serving_default`: encoded images in, detections out -------------------------------------
SIGNATURE = "serving_default"
INPUT_IMAGE_BYTES = "image_bytes"  # DT_STRING [N]: one JPEG or PNG file each

# Detections of one image are sorted by falling score; rows from num_detections on are padding. A box is
# ymin, xmin, ymax, xmax in 0..1 of the *original* image.
OUTPUT_BOXES = "detection_boxes"  # float32 [N, max_det, 4]; padding 0
OUTPUT_SCORES = "detection_scores"  # float32 [N, max_det]: 0..1; padding 0
OUTPUT_CLASSES = "detection_classes"  # float32 [N, max_det]: 0-based class ids; padding 0
OUTPUT_CLASS_TEXT = "detection_classes_as_text"  # DT_STRING [N, max_det]: class names, UTF-8; padding ""
OUTPUT_NUM = "num_detections"  # float32 [N]: how many rows are real
OUTPUTS = (OUTPUT_BOXES, OUTPUT_SCORES, OUTPUT_CLASSES, OUTPUT_CLASS_TEXT, OUTPUT_NUM)

# --- signature `letterboxed`: uint8 tensors that are letterboxed already ---------------------------------
SIGNATURE_LETTERBOXED = "letterboxed"
INPUT_IMAGES = "images"  # uint8 [N, H, W, 3] RGB; H and W multiples of STRIDE; boxes are normalised to H, W

STRIDE = 32  # the coarsest feature map's stride: H and W of the network's input are multiples of it
FINEST_STRIDE = 8  # the finest feature map's: one of its cells is 8x8 pixels of the network's input
LETTERBOX_GREY = 114  # the border's grey level, as in Ultralytics' LetterBox

DEFAULT_IMGSZ = 640
DEFAULT_CONF = 0.25
DEFAULT_IOU = 0.7
DEFAULT_MAX_DET = 300
DEFAULT_MAX_PIXELS = 50_000_000  # a header that claims more is refused before anything is decoded

MODEL_NAME = "yolov8"  # the name under which the stack serves it
METADATA_FILE = "sightline.json"  # in the version folder's assets.extra/


@dataclass(frozen=True)
class ModelMetadata:
    """What `assets.extra/sightline.json` says of an exported model.

    `imgsz` is (height, width) of the largest network input in pixels; `names[i]` is class i's name;
    `precision` is "fp32" or "bf16"; `weights_sha256` is the hash of the weights' file in hex;
    `tools` maps a tool (tensorflow, torch, ultralytics, sightline) to its version.
    """

    weights: str
    weights_sha256: str
    names: tuple[str, ...]
    imgsz: tuple[int, int]
    precision: str
    conf: float
    iou: float
    max_det: int
    max_pixels: int
    tools: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The plain dict that is written as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelMetadata:
        """Read back what `to_json` gave. Raises ValueError naming the first missing key."""
        missing = [f.name for f in fields(cls) if f.name not in data]
        if missing:
            raise ValueError(f"model metadata: expected key {missing[0]!r}, found only {sorted(data)}")
        values = {f.name: data[f.name] for f in fields(cls)}
        values["names"] = tuple(values["names"])
        height, width = values["imgsz"]
        values["imgsz"] = (int(height), int(width))
        return cls(**values)
