"""What was published is what the overlays run."""

from __future__ import annotations

import re

import pytest
import yaml

from images.overlay import pin
from tests.images.dockerfile import ROOT

OVERLAY = (ROOT / "k8s/overlays/production/kustomization.yaml").read_text()
REGISTRY = "1234.dkr.ecr.eu-central-1.amazonaws.com"
PUBLISHED = [
    f"{REGISTRY}/sightline/{name}@sha256:{digit * 64}"
    for name, digit in (
        ("relay", "1"),
        ("server-v1", "2"),
        ("server-v2", "3"),
        ("loadtest", "4"),
        ("relay-rollout", "5"),
    )
]


def test_digests_are_written_and_nothing_else() -> None:
    after = pin(OVERLAY, PUBLISHED)
    assert yaml.safe_load(after)["images"] == [
        {
            "name": "sightline-server-v1",
            "newName": f"{REGISTRY}/sightline/server-v1",
            "digest": f"sha256:{'2' * 64}",
        },
        {
            "name": "sightline-server-v2",
            "newName": f"{REGISTRY}/sightline/server-v2",
            "digest": f"sha256:{'3' * 64}",
        },
        {"name": "sightline-relay", "newName": f"{REGISTRY}/sightline/relay", "digest": f"sha256:{'1' * 64}"},
        {
            "name": "sightline-relay-rollout",
            "newName": f"{REGISTRY}/sightline/relay-rollout",
            "digest": f"sha256:{'5' * 64}",
        },
    ]
    rest = r"\s+(newName|digest): \S+"
    assert re.sub(rest, "", after) == re.sub(rest, "", OVERLAY)
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


def test_nothing_in_common() -> None:
    with pytest.raises(ValueError, match="no image of the overlay"):
        pin(OVERLAY, PUBLISHED[3:4])
