"""The bill of materials names what is in an image, in CycloneDX's form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images.oci import read_layout
from images.sbom import KEEP, as_json, bill
from tests.images.layouts import write_layout

FILES = {
    "var/lib/dpkg/status.d/libc6": (
        b"Package: libc6\nVersion: 2.41-12\nArchitecture: amd64\nDescription: GNU\n",
        0o644,
    ),
    "var/lib/dpkg/status.d/libc6.md5sums": (b"0123 usr/lib/libc.so\n", 0o644),
    "app/PyYAML-6.0.3.dist-info/METADATA": (b"Name: PyYAML\nVersion: 6.0.3\nLicense: MIT\n\nText", 0o644),
    "app/attrs-26.1.0.dist-info/METADATA": (
        b"Name: attrs\nVersion: 26.1.0\nLicense-Expression: MIT\n",
        0o644,
    ),
    "usr/bin/tensorflow_model_server": (b"\x7fELF", 0o755),
    "models/yolov8/2/assets.extra/sightline.json": (
        json.dumps({"weights": "a.pt", "weights_sha256": "ab", "precision": "bf16"}).encode(),
        0o644,
    ),
    "app/unrelated.py": (b"", 0o644),
}


def test_everything_is_named_once(tmp_path: Path) -> None:
    (image,) = read_layout(write_layout(tmp_path / "server-v2", [FILES]), KEEP)
    text = as_json(bill(image))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    assert found["metadata"]["component"]["name"] == "sightline-server-v2"
    assert found["metadata"]["component"]["version"] == image.digest
    components = {c["name"]: c for c in found["components"]}
    assert len(components) == len(found["components"]) == 5
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.41-12?arch=amd64"
    assert components["PyYAML"]["purl"] == "pkg:pypi/pyyaml@6.0.3"
    assert components["attrs"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert (
        components["tensorflow_model_server"]["hashes"][0]["content"]
        == hashlib.sha256(b"\x7fELF").hexdigest()
    )
    model = components["yolov8"]
    assert (model["type"], model["version"]) == ("machine-learning-model", "2")
    assert {"name": "precision", "value": "bf16"} in model["properties"]


def test_debian_s_own_list_is_read_too(tmp_path: Path) -> None:
    """A runtime has a file for each package; an image with apt has one list of them all."""
    packages = {"bash": "5.2", "elfutils": "0.192"}
    stanzas = "\n".join(
        f"Package: {n}\nVersion: {v}\nArchitecture: amd64\n" for n, v in packages.items()
    ).encode()
    (image,) = read_layout(
        write_layout(tmp_path / "debug", [{"var/lib/dpkg/status": (stanzas, 0o644)}]), KEEP
    )
    components = json.loads(as_json(bill(image)))["components"]
    assert [c["purl"] for c in components] == [
        "pkg:deb/debian/bash@5.2?arch=amd64",
        "pkg:deb/debian/elfutils@0.192?arch=amd64",
    ]
