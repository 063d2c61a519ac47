"""The model that the local stack serves: exported once, found again after that."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model import contract, weights
from model.child import bound
from model.contract import ModelMetadata
from model.demo import DEMO_WEIGHTS_SHA256
from model.export import ExportConfig, read_metadata, resolve_precision, tool_versions

PREFERRED_WEIGHTS = "yolov8n.pt"


@dataclass(frozen=True)
class ServedModel:
    """A model's base path, and its one version."""

    base: Path
    version: int
    meta: ModelMetadata

    @property
    def weights_spec(self) -> str:
        """The name that its weights have for `prepare`, where they were chosen by default."""
        return weights.DEMO_NAME if self.meta.weights_sha256 == DEMO_WEIGHTS_SHA256 else PREFERRED_WEIGHTS

    @property
    def text(self) -> str:
        """For people: `yolov8 v1: yolov8n-street.pt, bf16, 640x640, 6 classes`."""
        height, width = self.meta.imgsz
        return (
            f"{contract.MODEL_NAME} v{self.version}: {self.meta.weights}, {self.meta.precision}, "
            f"{width}x{height}, {len(self.meta.names)} classes"
        )


def prepare(
    models: Path,
    weights_spec: str | None,
    imgsz: tuple[int, int],
    precision: str,
    version: int,
    say: Callable[[str], None],
) -> ServedModel:
    """The model of these weights below `models`, as version `version`, exported now if it is not there.

    `weights_spec` None: Ultralytics' yolov8n.pt, or where it can't be fetched the demo weights that the project
    ships; an export of either that is there already is taken without asking the network again.
    Raises ValueError for imgsz and precision, model.weights.WeightsError for the weights, RuntimeError with the
    export's own words where it fails.
    """
    ExportConfig(weights_spec or weights.DEMO_NAME, models, imgsz, precision)  # it checks what was asked for
    precision = resolve_precision(precision)
    if weights_spec is None:
        for sha256 in (weights.PINNED[PREFERRED_WEIGHTS], DEMO_WEIGHTS_SHA256):
            if found := _find(_base(models, sha256, imgsz, precision, version), version):
                return found
        try:
            path = weights.locate(PREFERRED_WEIGHTS)
        except weights.DownloadError as error:
            say(f"{error} Taking the demo weights that Sightline ships.")
            path = weights.locate(weights.DEMO_NAME)
    else:
        path = weights.locate(weights_spec)
    base = _base(models, weights.sha256(path), imgsz, precision, version)
    if found := _find(base, version):
        return found
    # Whatever is there comes from other tools or was not finished: nobody else publishes into this folder.
    shutil.rmtree(base, ignore_errors=True)
    say(f"exporting {path.name} to a SavedModel, v{version} in {precision} ...")
    _export(base, path, imgsz, precision, version)
    found = _find(base, version)
    if found is None:
        raise RuntimeError(f"the export left no version {version} in {base}")
    return found


def _base(models: Path, sha256: str, imgsz: tuple[int, int], precision: str, version: int) -> Path:
    """A base path for each thing that an export depends on, so that what is there is what was asked for.

    For each version too: a model server serves the newest that it finds, and v1 and v2 are both fp32 where the
    CPU has no bf16 in hardware.
    """
    height, width = imgsz
    return models / f"{sha256[:12]}-{height}x{width}-{precision}-v{version}" / contract.MODEL_NAME


def _find(base: Path, version: int) -> ServedModel | None:
    """The version, if it is there, alone, and made by these tools with default thresholds."""
    if [p.name for p in base.glob("*")] != [str(version)]:
        return None
    try:
        meta = read_metadata(base / str(version))
    except ValueError:
        return None
    defaults = ExportConfig(weights="", out=base)
    fits = meta.tools == tool_versions() and all(
        getattr(meta, f) == getattr(defaults, f) for f in ("conf", "iou", "max_det", "max_pixels")
    )
    return ServedModel(base, version, meta) if fits else None


def _export(base: Path, path: Path, imgsz: tuple[int, int], precision: str, version: int) -> None:
    """Export in a process of its own: torch and TensorFlow need not stay in the supervisor's memory."""
    command = [sys.executable, "-m", "sightline", "export", "--weights", str(path), "--out", str(base)]
    command += [
        "--imgsz",
        f"{imgsz[0]}x{imgsz[1]}",
        "--precision",
        precision,
        "--model-version",
        str(version),
    ]
    done = subprocess.run(bound(command), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it exited with {done.returncode}"]
        raise RuntimeError(lines[-1].removeprefix("sightline: "))
