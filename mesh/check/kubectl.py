"""Kustomizations that need the whole of kustomize, built by `kubectl` with the origin of each object."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mesh.resources import Map, MeshError, Position, Resource, Seq, load_file, load_text

ORIGIN = "config.kubernetes.io/origin"
TIMEOUT_S = 30
MAX_WORDS = 300


def build_with_kubectl(folder: Path, component: Path | None = None) -> list[Resource]:
    """The objects as `kubectl kustomize` makes them, each field placed where its source file has it.

    What the source file does not have (a patch or a transformer brought it) is placed at the object's start.
    Raises MeshError where kubectl is missing, refuses, or takes longer than 30 s.
    """
    if shutil.which("kubectl") is None:
        raise MeshError(f"{folder}:1: this kustomization needs kubectl to build it, and it is not on PATH")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        wrapper = [
            f"resources: [{os.path.relpath(folder.resolve(), scratch)!r}]",
            "buildMetadata: [originAnnotations]",
        ]
        if component:
            wrapper.append(f"components: [{os.path.relpath(component.resolve(), scratch)!r}]")
        (scratch / "kustomization.yaml").write_text("\n".join(wrapper) + "\n")
        try:
            done = subprocess.run(
                ["kubectl", "kustomize", str(scratch)],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MeshError(f"{folder}:1: kubectl kustomize took longer than {TIMEOUT_S} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise MeshError(f"{folder}:1: kubectl kustomize: {_reason(lines[-1])}")
        return [_placed(resource, folder, scratch) for resource in load_text(done.stdout, folder)]


def _reason(line: str) -> str:
    """Of kubectl's last log line, the error, without the way to the folder, which is known."""
    text = line.partition(' err="')[2].removesuffix('"').replace('\\"', '"') or line
    text = re.sub(r".*couldn't make target for path '[^']*': ", "", text)
    return text if len(text) <= MAX_WORDS else "... " + text[-MAX_WORDS:]  # the cause comes last


def _placed(resource: Resource, folder: Path, scratch: Path) -> Resource:
    annotations = resource.metadata.get("annotations")
    origin = annotations.pop(ORIGIN, "") if isinstance(annotations, Map) else ""
    source: Map | None = None
    where = Position(folder, 1)
    for line in str(origin).splitlines():
        key, _, value = line.partition(": ")
        if key == "path":
            file = Path(os.path.relpath((scratch / value).resolve()))
            found = [r for r in load_file(file) if r.kind == resource.kind] if file.is_file() else []
            same = [r for r in found if r.name == resource.name] or found[:1]
            source = same[0].body if same else None
            where = source.at if source is not None else Position(file, 1)
    _place(resource.body, source, where)
    return resource


def _place(node: Any, source: Any, where: Position) -> None:
    """Give a rendered tree the positions of the source's fields, as far as both have them."""
    if isinstance(node, Map):
        same = source if isinstance(source, Map) else None
        node.at = same.at if same is not None else where
        for key in node:
            node.key_at[key] = same.key_at.get(key, node.at) if same is not None else where
            _place(node[key], same.get(key) if same is not None else None, node.key_at[key])
    elif isinstance(node, Seq):
        items = source if isinstance(source, Seq) else None
        node.at = items.at if items is not None else where
        for index in range(len(node)):
            inside = items is not None and index < len(items)
            node.item_at[index] = items.item_at[index] if inside and items is not None else node.at
            _place(node[index], items[index] if inside and items is not None else None, node.item_at[index])
