"""An image as a builder wrote it: an OCI layout's layers, and the file system that they make together."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Layer:
    """`packed` and `unpacked` are bytes, `packed` as a registry stores them; `made_by` is the history's line."""

    digest: str
    made_by: str
    packed: int
    unpacked: int


@dataclass(frozen=True)
class File:
    """A path's entry in the topmost layer that has it; `data` is kept of the files that were asked for."""

    member: tarfile.TarInfo
    data: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Image:
    """One platform of an image. `config` is the OCI image config; `files` by path without a leading slash."""

    name: str
    platform: str
    digest: str
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    files: dict[str, File] = field(repr=False)

    @property
    def run_config(self) -> dict[str, Any]:
        """User, Entrypoint, Cmd, Env, Labels; empty if the image has none."""
        found: dict[str, Any] = self.config.get("config") or {}
        return found

    def kept(self, pattern: str) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of the kept files whose whole path matches."""
        for path, file in self.files.items():
            if file.data is not None and re.fullmatch(pattern, path):
                yield path, file.data


def read_layout(folder: Path, keep: Iterable[str] = ()) -> list[Image]:
    """The images of an OCI layout, one for each platform. Raises ValueError if it is none.

    `keep`: patterns of paths whose bytes are wanted; layers are read once, from front to end.
    """
    wanted = re.compile("|".join(f"(?:{pattern})" for pattern in keep) or "(?!)")
    try:
        index = json.loads((folder / "index.json").read_text())
        return [_image(folder, *found, wanted) for found in _manifests(folder, index)]
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise ValueError(f"{folder} is no OCI layout: {error}; `make images` writes one") from error


def _manifests(folder: Path, index: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(digest, platform) of each image that runs; BuildKit's attestations are left out."""
    for entry in index["manifests"]:
        if entry["mediaType"] in INDEX_TYPES:
            yield from _manifests(folder, _json(folder, entry["digest"]))
        elif entry.get("platform", {}).get("os") != "unknown":
            platform = entry.get("platform") or _json(
                folder, _json(folder, entry["digest"])["config"]["digest"]
            )
            yield entry["digest"], f"{platform['os']}/{platform['architecture']}"


def _image(folder: Path, digest: str, platform: str, wanted: re.Pattern[str]) -> Image:
    manifest = _json(folder, digest)
    config = _json(folder, manifest["config"]["digest"])
    made_by = [h.get("created_by", "") for h in config.get("history", []) if not h.get("empty_layer")]
    made_by += [""] * (len(manifest["layers"]) - len(made_by))
    files: dict[str, File] = {}
    layers = []
    for entry, line in zip(manifest["layers"], made_by, strict=False):
        unpacked = _apply(_blob(folder, entry["digest"]), files, wanted)
        layers.append(Layer(entry["digest"], line, entry["size"], unpacked))
    return Image(folder.name, platform, digest, config, tuple(layers), files)


def _apply(blob: Path, files: dict[str, File], wanted: re.Pattern[str]) -> int:
    """Lay a layer over `files`; the bytes that it unpacks to."""
    unpacked = 0
    with tarfile.open(blob, "r|*") as tar:
        for member in tar:
            path = member.name.removeprefix("./").strip("/")
            parent, _, name = path.rpartition("/")
            if name == OPAQUE:
                _remove_below(files, parent)
            elif name.startswith(WHITEOUT):
                gone = f"{parent}/{name.removeprefix(WHITEOUT)}".lstrip("/")
                files.pop(gone, None)
                _remove_below(files, gone)
            elif path:
                data = tar.extractfile(member) if member.isfile() and wanted.fullmatch(path) else None
                files[path] = File(member, data.read() if data else None)
                unpacked += member.size
    return unpacked


def _remove_below(files: dict[str, File], folder: str) -> None:
    for path in [p for p in files if p.startswith(f"{folder}/")]:
        del files[path]


def _json(folder: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_blob(folder, digest).read_text())
    return found


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / Path(*digest.split(":"))
