"""`python -m images.overlay DIGESTS KUSTOMIZATION...`: writes published digests into overlays of k8s/."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PINNED = re.compile(r"(?P<repository>\S+/sightline/(?P<name>[a-z0-9-]+))@(?P<digest>sha256:[0-9a-f]{64})")


def pin(kustomization: str, published: list[str]) -> str:
    """The kustomization's text with each image that was published by its digest; the rest, comments too, as it was.

    Raises ValueError for a line that is no REGISTRY/sightline/NAME@sha256:DIGEST, or if no image was published.
    """
    changed = kustomization
    for line in published:
        found = PINNED.fullmatch(line)
        if found is None:
            raise ValueError(f"expected REGISTRY/sightline/NAME@sha256:DIGEST, got {line!r}")
        changed = re.sub(
            rf"(- name: sightline-{found['name']}\n(\s+)newName: )\S+\n\s+(?:digest|newTag): \S+",
            rf"\g<1>{found['repository']}\n\g<2>digest: {found['digest']}",
            changed,
        )
    if changed == kustomization and not any(line in _images(kustomization) for line in published):
        raise ValueError("no image of the overlay is among the published ones")
    return changed


def _images(kustomization: str) -> set[str]:
    return {
        f"{name}@{digest}" for name, digest in re.findall(r"newName: (\S+)\n\s+digest: (\S+)", kustomization)
    }


def main(digests: Path, kustomizations: list[Path]) -> None:
    """Rewrite the files."""
    published = digests.read_text().split()
    for path in kustomizations:
        path.write_text(pin(path.read_text(), published))
        print(f"{path}: {', '.join(sorted(_images(path.read_text())))}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
    except (OSError, ValueError, IndexError) as problem:
        sys.exit(f"images.overlay: {problem}")
