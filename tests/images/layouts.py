"""OCI layouts made by hand: images that are as they should be, and images that are not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LABELS = {
    f"org.opencontainers.image.{name}": "x"
    for name in ("title", "description", "licenses", "version", "revision")
}
CONFIG: dict[str, Any] = {
    "User": "65532:65532",
    "Entrypoint": ["/usr/bin/python3", "-m", "sightline"],
    "Labels": LABELS,
}
# path: (bytes, mode)
Layer = dict[str, tuple[bytes, int]]
FILES: Layer = {"usr/bin/python3": (b"\x7fELF", 0o755), "app/x.py": (b"", 0o644)}


def write_layout(
    folder: Path, layers: Sequence[Layer] = (FILES,), config: dict[str, Any] | None = None
) -> Path:
    """An image of these layers and this run config."""
    folder.mkdir(parents=True)
    blobs = [_layer(layer) for layer in layers]
    body = {
        "os": "linux",
        "architecture": "amd64",
        "config": CONFIG if config is None else config,
        "history": [
            {"created_by": "USER 65532", "empty_layer": True},
            *({"created_by": "COPY . /app"} for _ in blobs),
        ],
    }
    manifest = {
        "config": {"digest": _put(folder, json.dumps(body).encode())},
        "layers": [{"digest": _put(folder, blob), "size": len(blob)} for blob in blobs],
    }
    data = json.dumps(manifest).encode()
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": _put(folder, data)}
    (folder / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return folder


def _layer(files: Layer) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, (data, mode) in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue())


def _put(folder: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    target = folder / "blobs" / "sha256" / digest
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return f"sha256:{digest}"
