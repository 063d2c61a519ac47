"""Weights: find them, check them, load them.

A `.pt` file is a pickle, and a pickle can run code when it is loaded. Three ways are safe enough: the file's
sha256 is pinned here; or it loads with an unpickler that builds only the classes which YOLO models are made of;
or the user says that the file is trusted.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# No event reporting, no check for updates, no download behind the user's back: read when ultralytics is imported.
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_VERBOSE", "false")

from model.demo import DEMO_WEIGHTS, DEMO_WEIGHTS_SHA256

# Ultralytics' release assets, by name.
PINNED = {"yolov8n.pt": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"}
# Known to publish, but without a sha256 that could be pinned here: these load by the restricted unpickler.
UNPINNED = ("yolov8s.pt", "yolov8m.pt", "yolov8l.pt", "yolov8x.pt")
DEMO_NAME = "demo"


class WeightsError(ValueError):
    """Weights that are missing, damaged, not trusted or of another kind."""


class DownloadError(WeightsError):
    """A known name that could not be fetched."""


@dataclass(frozen=True)
class Weights:
    """Loaded weights: `module` is Ultralytics' DetectionModel, fused, float32, in eval mode."""

    name: str
    sha256: str
    module: Any

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class i's name, for i = 0, 1, ..."""
        return tuple(str(self.module.names[i]) for i in range(len(self.module.names)))


def locate(spec: str) -> Path:
    """The file of `spec`: a path, `demo` (the weights that the project ships), or a name such as yolov8n.pt.

    A name is fetched through Ultralytics once, then kept in the cache. Raises WeightsError where there is no
    such file, DownloadError where it could not be fetched or is not the file that was pinned.
    """
    if spec == DEMO_NAME:
        return DEMO_WEIGHTS
    path = Path(spec).expanduser()
    if path.is_file():
        return path
    if spec in PINNED or spec in UNPINNED:
        return _fetch(spec)
    known = ", ".join([DEMO_NAME, *PINNED, *UNPINNED])
    raise WeightsError(f"no weights at {spec}: expected a .pt file's path or one of {known}")


def load(path: Path, *, trust: bool = False) -> Weights:
    """Load a detection model's `.pt` and fuse its batch norms. `trust`: unpickle whatever the file holds.

    Raises WeightsError with one line that says what was expected, what came and what to do.
    """
    import torch

    digest = sha256(path)
    _use_private_config()
    safe = digest not in {*PINNED.values(), DEMO_WEIGHTS_SHA256} and not trust
    classes = _yolo_classes()  # outside the try: that Ultralytics is not installed is not the file's fault
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(classes):
                checkpoint = torch.load(path, map_location="cpu", weights_only=safe)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            if layers := _unknown_layers(path, classes):
                raise WeightsError(
                    f"{path}: expected a YOLOv8 detection model, got one with {layers}"
                ) from error
            raise WeightsError(
                f"{path} is a pickle with more in it than a YOLO model, and loading it could run any code: "
                f"if you trust where it came from, add --trust (sha256 {digest})"
            ) from error
        raise WeightsError(_not_weights(path)) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        ModuleNotFoundError,
        OSError,
    ) as error:
        raise WeightsError(_not_weights(path)) from error
    entries = checkpoint if isinstance(checkpoint, dict) else {}
    module: Any = entries.get("model") if entries.get("ema") is None else entries["ema"]
    if type(module).__name__ != "DetectionModel":
        got = type(checkpoint if module is None else module).__name__
        raise WeightsError(f"{path}: expected a YOLOv8 detection model, got {got}")
    names: Any = module.names if isinstance(module.names, dict) else dict(enumerate(module.names))
    count = getattr(module.model[-1], "nc", len(names))
    if names.keys() != set(range(count)):
        raise WeightsError(f"{path}: expected a name for each of {count} classes, got {module.names}")
    return Weights(path.name, digest, module.float().fuse(verbose=False).eval())


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """Where fetched files are kept: $XDG_CACHE_HOME/sightline, readable by its owner only."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return base


def _fetch(name: str) -> Path:
    path = cache_dir() / name
    if not path.exists():
        _use_private_config()
        from ultralytics.utils.downloads import attempt_download_asset

        partial = cache_dir() / "partial" / name
        try:
            attempt_download_asset(partial, retry=0, progress=False)
        except Exception as error:  # whatever the network, the proxy or curl came up with
            partial.unlink(missing_ok=True)
            raise DownloadError(
                f"cannot fetch {name} ({type(error).__name__}): is there a network?"
            ) from error
        _check_pin(partial, name)
        partial.replace(path)
    _check_pin(path, name)
    return path


def _check_pin(path: Path, name: str) -> None:
    if name in PINNED and (found := sha256(path)) != PINNED[name]:
        path.unlink()
        raise DownloadError(f"{name}: expected sha256 {PINNED[name]}, got {found}; the file was deleted")


def _use_private_config() -> None:
    """Keep Ultralytics' settings file in our cache instead of the user's home. Before ultralytics' import."""
    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir()))


def _unknown_layers(path: Path, classes: list[Any]) -> str:
    """The parts of another Ultralytics model in a pickle, by name: to trust it would not help."""
    import torch

    try:
        with torch.serialization.safe_globals(classes):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # of any kind, by what the pickle holds
        return ""
    return ", ".join(sorted(n.rpartition(".")[2] for n in found if n.startswith("ultralytics.nn.")))


def _not_weights(path: Path) -> str:
    return f"{path} is not a .pt file of YOLOv8 weights, or it is damaged ({path.stat().st_size} bytes)"


def _yolo_classes() -> list[Any]:
    """The classes that a YOLO detection checkpoint is made of: layers, containers, plain settings."""
    import torch
    import ultralytics.nn.modules as layers
    from torch.nn.modules import activation, batchnorm, container, conv, linear, pooling, upsampling
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace

    found: list[Any] = [DetectionModel, IterableSimpleNamespace, torch.nn.Identity, set]
    for module in (layers, activation, batchnorm, container, conv, linear, pooling, upsampling):
        found += [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, torch.nn.Module)]
    return found
