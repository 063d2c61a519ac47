"""Exports are kept and found again, each thing that an export depends on apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.weights import WeightsError
from sightline import models
from sightline.models import prepare


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, demo_model: Path) -> list[str]:
    """What was exported; each is a copy of one that is there already."""
    done: list[str] = []

    def export(base: Path, path: Path, imgsz: tuple[int, int], precision: str, version: int) -> None:
        done.append(f"{path.name} {imgsz[0]}x{imgsz[1]} {precision} v{version}")
        shutil.copytree(demo_model / "1", base / str(version))

    monkeypatch.setattr(models, "_export", export)
    return done


def test_each_is_exported_once(exports: list[str], tmp_path: Path) -> None:
    """Two versions of one precision are both kept: where the CPU has no bf16 in hardware, v1 and v2 are fp32."""
    said: list[str] = []
    for _ in range(2):
        for imgsz, precision, version in (
            ((640, 640), "fp32", 1),
            ((640, 640), "fp32", 2),
            ((320, 640), "bf16", 1),
        ):
            served = prepare(tmp_path, "demo", imgsz, precision, version, said.append)
            assert served.version == version
            assert [folder.name for folder in served.base.iterdir()] == [str(version)]
    assert exports == [
        "yolov8n-street.pt 640x640 fp32 v1",
        "yolov8n-street.pt 640x640 fp32 v2",
        "yolov8n-street.pt 320x640 bf16 v1",
    ]
    assert len(said) == 3


@pytest.mark.parametrize("broken", ["metadata", "tools", "other version"])
def test_what_does_not_fit_is_exported_again(exports: list[str], tmp_path: Path, broken: str) -> None:
    served = prepare(tmp_path, "demo", (640, 640), "fp32", 1, lambda _: None)
    metadata = served.base / "1" / "assets.extra" / "sightline.json"
    if broken == "metadata":
        metadata.write_text("{")
    elif broken == "tools":
        metadata.write_text(metadata.read_text().replace('"torch": "', '"torch": "0.'))
    else:
        (served.base / "1").rename(served.base / "7")
    again = prepare(tmp_path, "demo", (640, 640), "fp32", 1, lambda _: None)
    assert len(exports) == 2
    assert again.meta.precision == "fp32"


@pytest.mark.parametrize(
    ("weights", "imgsz", "precision", "error"),
    [
        ("gone.pt", (640, 640), "fp32", WeightsError),
        ("demo", (640, 100), "fp32", ValueError),
        ("demo", (640, 640), "int8", ValueError),
    ],
)
def test_nothing_is_exported_for_what_cannot_be(
    exports: list[str],
    tmp_path: Path,
    weights: str,
    imgsz: tuple[int, int],
    precision: str,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        prepare(tmp_path, weights, imgsz, precision, 1, lambda _: None)
    assert exports == []
    assert not list(tmp_path.iterdir())
