"""YOLOv8 weights to a SavedModel version that TF Serving serves: `sightline export`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from model import contract
from model.contract import ModelMetadata
from model.letterbox import check_imgsz

GRAPH_CODE = ("network.py", "postprocess.py", "preprocess.py", "savedmodel.py")
MAX_MAX_DET = 30_000  # as many as Ultralytics gives to the NMS
PRECISIONS = ("fp32", "bf16", "auto")
# Frame shapes to run before a version serves, (height, width): oneDNN compiles kernels for each input shape once.
WARMUP_FRAMES = ((720, 1280), (480, 640), (640, 640), (1280, 720), (640, 480))


class ExportError(ValueError):
    """An export that cannot be done as asked."""


@dataclass(frozen=True)
class ExportConfig:
    """What `sightline export` takes.

    `weights`: a .pt file's path, or a known name. `out`: the model's base path; the version folder goes below.
    `imgsz`: (height, width) in pixels, multiples of 32. `precision`: fp32, bf16 or auto. `model_version`: the
    folder's number, or None for the next one. `trust`: unpickle weights whatever they hold. `sign`: the private key
    (PEM, Ed25519) that the version is signed with; None: not signed.
    """

    weights: str
    out: Path
    imgsz: tuple[int, int] = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)
    precision: str = "auto"
    conf: float = contract.DEFAULT_CONF
    iou: float = contract.DEFAULT_IOU
    max_det: int = contract.DEFAULT_MAX_DET
    max_pixels: int = contract.DEFAULT_MAX_PIXELS
    model_version: int | None = None
    trust: bool = False
    sign: Path | None = None

    def __post_init__(self) -> None:
        check_imgsz(self.imgsz)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name, share in (("conf", self.conf), ("iou", self.iou)):
            if not 0 < share < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {share}")
        counts = (("max_det", self.max_det, MAX_MAX_DET), ("max_pixels", self.max_pixels, (1 << 31) - 1))
        # A version is an int64 to TF Serving, which overlooks other folders.
        for name, count, most in (*counts, ("model_version", self.model_version or 1, (1 << 63) - 1)):
            if not 1 <= count <= most:
                raise ValueError(f"{name} must be at least 1 and at most {most}, got {count}")


def export(config: ExportConfig) -> Path:
    """Export, and return the new version's folder.

    Raises model.weights.WeightsError for the weights, model.signing.SigningError for the key, ExportError where the
    version exists or cannot be written.
    """
    from model import weights

    seal = _seal(config.sign) if config.sign else None
    folder = config.out / str(config.model_version or next_version(config.out))
    if folder.exists():
        raise ExportError(f"{folder} exists: a published version never changes, take another --model-version")
    loaded = weights.load(weights.locate(config.weights), trust=config.trust)
    # TensorFlow takes seconds to import: what is wrong with the weights is said before.
    from tensorflow.python.framework import errors

    from model.network import Network
    from model.savedmodel import DTYPES, build_graph, write

    meta = ModelMetadata(
        weights=loaded.name,
        weights_sha256=loaded.sha256,
        names=loaded.class_names,
        imgsz=config.imgsz,
        precision=resolve_precision(config.precision),
        conf=config.conf,
        iou=config.iou,
        max_det=config.max_det,
        max_pixels=config.max_pixels,
        tools=tool_versions(),
    )
    graph, signatures = build_graph(Network(loaded.module, DTYPES[meta.precision]), meta)
    try:
        write(graph, signatures, meta, warmup_records(), folder, seal)
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error.strerror}") from error
    except errors.OpError as error:  # it says `file; reason`
        raise ExportError(f"cannot write {folder}: {error.message.rpartition('; ')[2]}") from error
    return folder


def _seal(key_file: Path) -> Callable[[Path], None]:
    """Signs a folder with the key of a file, which is read now: a wrong one is no reason to export first."""
    from model.signing import read_private_key, sign

    key = read_private_key(key_file)
    return lambda folder: sign(folder, key)


def resolve_precision(precision: str) -> str:
    """fp32 or bf16; `auto` is bf16 where the CPU multiplies it in hardware (AVX512-BF16, AMX, or Arm's BF16)."""
    if precision != "auto":
        return precision
    try:
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    except OSError:
        return "fp32"
    return "bf16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def tool_versions() -> dict[str, str]:
    """The versions of what decides about an export's content; `graph` is a digest of the code that builds it."""
    packages = {"ultralytics": "ultralytics-opencv-headless"}
    tools = ("sightline", "tensorflow", "torch", "ultralytics")
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in GRAPH_CODE)
    return {tool: version(packages.get(tool, tool)) for tool in tools} | {
        "graph": hashlib.sha256(code).hexdigest()[:12]
    }


def next_version(base: Path) -> int:
    """One more than the highest version folder under `base`; 1 where there is none."""
    found = [int(entry.name) for entry in base.glob("*") if entry.is_dir() and entry.name.isdecimal()]
    return max(found, default=0) + 1


def version_folder(path: Path) -> Path:
    """`path` itself if it is a version folder, else the newest version below it. Raises ValueError for neither."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.glob("*") if p.name.isdecimal() and (p / "saved_model.pb").is_file()]
    if not versions:
        raise ValueError(f"{path}: expected a SavedModel version, or a folder of versions, found neither")
    return max(versions, key=lambda version: int(version.name))


def read_metadata(folder: Path) -> ModelMetadata:
    """The metadata of an exported version. Raises ValueError where `folder` holds none."""
    import json

    file = folder / "assets.extra" / contract.METADATA_FILE
    try:
        return ModelMetadata.from_json(json.loads(file.read_text()))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} is no version exported by sightline: cannot read {file}") from error


def warmup_records() -> Iterator[bytes]:
    """Serialised PredictionLogs with one frame of each usual shape, as TF Serving replays them at load."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from model.quiet import tf

    for height, width in WARMUP_FRAMES:
        ramp = np.linspace(0, 255, width, dtype=np.uint8)
        _, jpeg = cv2.imencode(".jpg", np.broadcast_to(ramp[None, :, None], (height, width, 3)))
        request = predict_pb2.PredictRequest()
        request.model_spec.name = contract.MODEL_NAME
        request.model_spec.signature_name = contract.SIGNATURE
        request.inputs[contract.INPUT_IMAGE_BYTES].CopyFrom(tf.make_tensor_proto([jpeg.tobytes()]))
        log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
        yield log.SerializeToString()
