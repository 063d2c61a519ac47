"""Weights: what is loaded, what is refused, and that loading runs nobody's code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import ClassificationModel, DetectionModel

from model import weights
from model.demo import DEMO_WEIGHTS, DEMO_WEIGHTS_SHA256
from model.weights import DownloadError, WeightsError, load, locate, sha256


class Code:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_demo_weights_load() -> None:
    loaded = load(locate("demo"))
    assert loaded.sha256 == DEMO_WEIGHTS_SHA256
    assert "person" in loaded.class_names
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in loaded.module.modules()), "fused"


def test_other_weights_load_without_trust(tmp_path: Path) -> None:
    """Somebody's own training: unknown hash, but made of YOLO's classes only."""
    module = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    torch.save({"model": module.half(), "ema": None, "train_args": {"imgsz": 640}}, tmp_path / "best.pt")
    assert load(tmp_path / "best.pt").class_names == ("0", "1")


@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, hidden: bool) -> None:
    file, folder = tmp_path / "evil.pt", tmp_path / "made"
    module = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    if hidden:  # deep inside a model that is otherwise good
        module.model[0].conv.extra = Code(folder)
    torch.save({"model": module if hidden else Code(folder)}, file)
    with pytest.raises(WeightsError, match=r"could run any code: .* add --trust \(sha256 [0-9a-f]{64}\)"):
        load(file)
    assert not folder.exists()
    if hidden:
        load(file, trust=True)
        assert folder.exists(), "trust means that it is loaded all the same"


@pytest.mark.parametrize(
    "content", [b"", b"weights, I promise\n" * 50, bytes(1000), b"PK\x03\x04 not really"]
)
def test_no_weights(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not a \.pt file of YOLOv8 weights, or it is damaged"):
        load(file)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    data = DEMO_WEIGHTS.read_bytes()
    (tmp_path / "w.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match="damaged"):
        load(tmp_path / "w.pt")


def test_another_kind_of_model(tmp_path: Path) -> None:
    torch.save({"model": None}, tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="expected a YOLOv8 detection model"):
        load(tmp_path / "none.pt")
    torch.save({"ema": torch.zeros(5)}, tmp_path / "tensor.pt")
    with pytest.raises(WeightsError, match="expected a YOLOv8 detection model, got Tensor"):
        load(tmp_path / "tensor.pt")
    torch.save({"model": ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False)}, tmp_path / "cls.pt")
    with pytest.raises(WeightsError, match="expected a YOLOv8 detection model, got ClassificationModel"):
        load(tmp_path / "cls.pt", trust=True)
    with pytest.raises(WeightsError, match=r"detection model, got one with Class\w*Model$"):
        load(tmp_path / "cls.pt")  # no advice to trust it


@pytest.mark.parametrize("names", [{1: "a", 2: "b"}, {0: "a"}, {0: "a", 1: "b", 2: "c"}])
def test_names_that_do_not_fit_the_classes(tmp_path: Path, names: dict[int, str]) -> None:
    module = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    module.names = names
    torch.save({"model": module}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="expected a name for each of 2 classes, got"):
        load(tmp_path / "w.pt")


def test_missing() -> None:
    with pytest.raises(
        WeightsError, match=r"no weights at nope\.pt: expected a \.pt file's path or one of demo"
    ):
        locate("nope.pt")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sightline"


def fetching(monkeypatch: pytest.MonkeyPatch, content: Path | None) -> None:
    """Ultralytics' download gives `content`, or fails as it does without a network."""

    def attempt(file: Path, **_: object) -> str:
        if content is None:
            raise ConnectionError("no network")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(content, file)
        return str(file)

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", attempt)


def test_a_known_name_is_fetched_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.PINNED, "yolov8n.pt", sha256(DEMO_WEIGHTS))
    fetching(monkeypatch, DEMO_WEIGHTS)
    path = locate("yolov8n.pt")
    assert path == cache / "yolov8n.pt"
    assert cache.stat().st_mode & 0o077 == 0, "its owner's only"
    fetching(monkeypatch, None)
    assert locate("yolov8n.pt") == path


def test_another_file_than_the_pinned_one_is_deleted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching(monkeypatch, DEMO_WEIGHTS)
    with pytest.raises(DownloadError, match=r"yolov8n\.pt: expected sha256 f59b3d83.*, got .*deleted"):
        locate("yolov8n.pt")
    assert not list(cache.rglob("yolov8n.pt"))


def test_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching(monkeypatch, None)
    with pytest.raises(
        DownloadError, match=r"cannot fetch yolov8n\.pt \(ConnectionError\): is there a network\?"
    ):
        locate("yolov8n.pt")
