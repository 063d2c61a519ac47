"""Layers are laid over each other as an engine does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.oci import read_layout
from tests.images.layouts import FILES, write_layout


def test_upper_layers_hide_lower_ones(tmp_path: Path) -> None:
    layers = [
        {
            "a": (b"1", 0o644),
            "b": (b"1", 0o644),
            "d/x": (b"1", 0o644),
            "d/y": (b"1", 0o644),
            "e/z": (b"1", 0o644),
        },
        {"a": (b"22", 0o600), ".wh.b": (b"", 0o644), "d/.wh..wh..opq": (b"", 0o644), ".wh.e": (b"", 0o644)},
        {"d/new": (b"333", 0o644)},
    ]
    (image,) = read_layout(write_layout(tmp_path / "relay", layers), keep=["a", "d/.*"])
    assert sorted(image.files) == ["a", "d/new"]
    assert dict(image.kept(".*")) == {"a": b"22", "d/new": b"333"}
    assert image.files["a"].member.mode == 0o600
    assert [layer.unpacked for layer in image.layers] == [5, 2, 3]
    assert {layer.made_by for layer in image.layers} == {"COPY . /app"}


def test_only_wanted_files_are_kept(tmp_path: Path) -> None:
    (image,) = read_layout(write_layout(tmp_path / "relay", [FILES]), keep=[r".*\.py"])
    assert [path for path, _data in image.kept(".*")] == ["app/x.py"]


@pytest.mark.parametrize("damage", ["missing", "no json", "no manifests", "lost layer", "broken layer"])
def test_no_layout(tmp_path: Path, damage: str) -> None:
    folder = write_layout(tmp_path / "relay")
    if damage == "missing":
        folder = tmp_path / "nothing"
    elif damage in ("no json", "no manifests"):
        (folder / "index.json").write_text({"no json": "{", "no manifests": "{}"}[damage])
    else:
        for blob in (folder / "blobs/sha256").iterdir():
            if blob.read_bytes().startswith(b"\x1f\x8b"):
                blob.unlink() if damage == "lost layer" else blob.write_bytes(blob.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"is no OCI layout.*`make images` writes one"):
        read_layout(folder)
