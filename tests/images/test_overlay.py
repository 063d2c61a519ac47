"""What was published is what the overlays run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.overlay import main, pin
from tests.images.dockerfile import ROOT

OVERLAY = (ROOT / "k8s/overlays/production/kustomization.yaml").read_text()
VOLUME = (ROOT / "k8s/components/model/image-volume/patch-v1.yaml").read_text()
REGISTRY = "1234.dkr.ecr.eu-central-1.amazonaws.com"
PUBLISHED = [
    f"{REGISTRY}/sightline/{name}@sha256:{digit * 64}"
    for name, digit in (
        ("relay", "1"),
        ("server-v1", "2"),
        ("server-v2", "3"),
        ("export", "4"),
        ("relay-rollout", "5"),
        ("model-v1", "6"),
    )
]


def entries(kustomization: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(kustomization)["images"]
    return found


def test_digests_are_written_and_nothing_else() -> None:
    after = pin(OVERLAY, PUBLISHED)
    written = {line.split("/")[-1].split("@")[0]: line for line in PUBLISHED}
    for before, entry in zip(entries(OVERLAY), entries(after), strict=True):
        name = entry["name"].removeprefix("sightline-")
        if name in written:
            assert f"{entry['newName']}@{entry['digest']}" == written[name]
        else:
            assert entry == before
    assert written.keys() - {e["name"].removeprefix("sightline-") for e in entries(OVERLAY)} == {"model-v1"}
    rest = r"\s+(newName|digest): \S+"
    assert re.sub(rest, "", after) == re.sub(rest, "", OVERLAY)
    assert pin(after, PUBLISHED) == after


def test_an_image_volume_s_digest_is_written_too() -> None:
    after = pin(VOLUME, PUBLISHED)
    (before_line,) = [line for line in VOLUME.splitlines() if "reference:" in line]
    assert after == VOLUME.replace(before_line.split()[1], PUBLISHED[-1])
    assert yaml.safe_load(after)[0]["value"]["image"]["reference"] == PUBLISHED[-1]
    assert pin(after, PUBLISHED) == after


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        f"{REGISTRY}/sightline/relay:v1",
        f"{REGISTRY}/other/relay@sha256:{'1' * 64}",
        PUBLISHED[0][:-1],
    ],
)
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match="expected REGISTRY/sightline/NAME@sha256:DIGEST"):
        pin(OVERLAY, [line])


def test_nothing_in_common_writes_nothing(tmp_path: Path) -> None:
    digests, overlay, volume = tmp_path / "digests.txt", tmp_path / "kustomization.yaml", tmp_path / "v1.yaml"
    overlay.write_text(OVERLAY)
    volume.write_text(VOLUME)
    digests.write_text("\n".join(PUBLISHED[:-1]))
    with pytest.raises(ValueError, match=r"v1.yaml: none of its images is among the published ones"):
        main(digests, [overlay, volume])
    assert (overlay.read_text(), volume.read_text()) == (OVERLAY, VOLUME)


def test_what_was_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests, volume = tmp_path / "digests.txt", tmp_path / "v1.yaml"
    volume.write_text(VOLUME)
    digests.write_text("\n".join(PUBLISHED))
    main(digests, [volume])
    assert capsys.readouterr().out == f"{volume}: {PUBLISHED[-1]}\n"
    assert volume.read_text() == pin(VOLUME, PUBLISHED)
