"""`python -m images.overlay DIGESTS FILE...`: writes published digests into k8s/'s overlays and image volumes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PINNED = re.compile(r"(?P<repository>\S+/sightline/(?P<name>[a-z0-9-]+))@(?P<digest>sha256:[0-9a-f]{64})")


def pin(text: str, published: list[str]) -> str:
    """The file's text with each image that was published by its digest; the rest, comments too, as it was.

    An image is an entry of a kustomization's `images`, or the `reference` of an image volume, which kustomize does not
    rename. Raises ValueError for a line that is no REGISTRY/sightline/NAME@sha256:DIGEST.
    """
    for line in published:
        found = PINNED.fullmatch(line)
        if found is None:
            raise ValueError(f"expected REGISTRY/sightline/NAME@sha256:DIGEST, got {line!r}")
        text = re.sub(
            rf"(- name: sightline-{found['name']}\n(\s+)newName: )\S+\n\s+(?:digest|newTag): \S+",
            rf"\g<1>{found['repository']}\n\g<2>digest: {found['digest']}",
            text,
        )
        text = re.sub(rf"(reference: )\S+/sightline/{found['name']}@\S+", rf"\g<1>{line}", text)
    return text


def images(text: str) -> set[str]:
    """The images that a file names by digest, as they are published."""
    entries = re.findall(r"newName: (\S+)\n\s+digest: (\S+)", text)
    return {f"{name}@{digest}" for name, digest in entries} | set(re.findall(r"reference: (\S+@\S+)", text))


def main(digests: Path, files: list[Path]) -> None:
    """Rewrite the files; none of them if one has no image that was published. Raises ValueError then."""
    published = digests.read_text().split()
    pinned = {path: pin(path.read_text(), published) for path in files}
    for path, text in pinned.items():
        if images(text).isdisjoint(published):
            raise ValueError(f"{path}: none of its images is among the published ones")
    for path, text in pinned.items():
        path.write_text(text)
        print(f"{path}: {', '.join(sorted(images(text) & set(published)))}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
    except (OSError, ValueError, IndexError) as problem:
        sys.exit(f"images.overlay: {problem}")
