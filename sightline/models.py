"""The model that the local stack serves: exported once, found again after that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model import contract, weights
from model.contract import ModelMetadata
from model.demo import DEMO_WEIGHTS_SHA256
from model.export import ExportConfig, read_metadata, resolve_precision, tool_versions

PREFERRED_WEIGHTS = "yolov8n.pt"


@dataclass(frozen=True)
class ServedModel:
    """A model's base path, and the newest version that fits what was asked for."""

    base: Path
    version: int
    meta: ModelMetadata

    @property
    def text(self) -> str:
        """For people: `yolov8 v1: yolov8n-street.pt, bf16, 640x640, 6 classes`."""
        height, width = self.meta.imgsz
        return (
            f"{contract.MODEL_NAME} v{self.version}: {self.meta.weights}, {self.meta.precision}, "
            f"{width}x{height}, {len(self.meta.names)} classes"
        )


def prepare(
    base: Path, weights_spec: str | None, imgsz: tuple[int, int], precision: str, say: Callable[[str], None]
) -> ServedModel:
    """The model of these weights below `base`, exported now if no version there is it.

    `weights_spec` None: Ultralytics' yolov8n.pt, or where it can't be fetched the demo weights that the project
    ships; a version of either that is there already is taken without asking the network again.
    Raises ValueError for imgsz and precision, model.weights.WeightsError for the weights, RuntimeError with the
    export's own words where it fails.
    """
    ExportConfig(weights_spec or weights.DEMO_NAME, base, imgsz, precision)  # it checks what was asked for
    known = [weights.PINNED[PREFERRED_WEIGHTS], DEMO_WEIGHTS_SHA256]
    if weights_spec is not None:
        path = weights.locate(weights_spec)
        known = [weights.sha256(path)]
    found = _find(base, known, imgsz, precision)
    if found is not None:
        return found
    if weights_spec is None:
        try:
            path = weights.locate(PREFERRED_WEIGHTS)
        except weights.DownloadError as error:
            say(f"{error} Taking the demo weights that Sightline ships.")
            path = weights.locate(weights.DEMO_NAME)
    say(f"exporting {path.name} to a SavedModel ...")
    _export(base, path, imgsz, precision)
    found = _find(base, [weights.sha256(path)], imgsz, precision)
    if found is None:
        raise RuntimeError(f"the export left no version in {base} that fits what was asked for")
    return found


def _find(base: Path, known_sha256: list[str], imgsz: tuple[int, int], precision: str) -> ServedModel | None:
    """The newest version below `base`, if it is one of these weights, exported with these settings and tools.

    Only the newest: that is the one which the model server serves.
    """
    versions = sorted(int(p.name) for p in base.glob("*") if p.is_dir() and p.name.isdecimal())
    if not versions:
        return None
    try:
        meta = read_metadata(base / str(versions[-1]))
    except ValueError:
        return None
    defaults = ExportConfig(weights="", out=base)
    fits = (
        meta.weights_sha256 in known_sha256
        and meta.imgsz == imgsz
        and meta.precision == resolve_precision(precision)
        and meta.tools == tool_versions()
        and all(getattr(meta, f) == getattr(defaults, f) for f in ("conf", "iou", "max_det", "max_pixels"))
    )
    return ServedModel(base, versions[-1], meta) if fits else None


def _export(base: Path, path: Path, imgsz: tuple[int, int], precision: str) -> None:
    """Export in a process of its own: torch and TensorFlow need not stay in the supervisor's memory."""
    size = [str(side) for side in imgsz]
    command = [sys.executable, "-m", "sightline", "export", "--weights", str(path), "--out", str(base)]
    command += ["--imgsz", "x".join(size), "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it exited with {done.returncode}"]
        raise RuntimeError(lines[-1].removeprefix("sightline: "))
