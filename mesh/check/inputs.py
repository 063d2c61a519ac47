"""From paths to configurations: what would be applied together is checked together.

A folder with a kustomization is one configuration. A kustomize component is checked on top of the kustomization
nearest to it. All other YAML files form one configuration together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os.path import commonpath
from pathlib import Path

from mesh import kustomize
from mesh.check.findings import Finding, finding
from mesh.check.kubectl import build_with_kubectl
from mesh.resources import Map, MeshError, Position, Resource, Seq, load_documents, read_text

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 20_000


class UsageError(Exception):
    """A path that can't be checked at all."""


@dataclass
class Configuration:
    """Resources that are applied together; `name` is what they are called in messages."""

    name: str
    resources: list[Resource]


@dataclass
class Inputs:
    configurations: list[Configuration] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    skipped: int = 0  # YAML files without a Kubernetes object, or of a Helm chart

    def problem(self, code: str, error: MeshError, path: Path) -> None:
        """A MeshError reads "file:line: what"."""
        where, what = _split(str(error), path)
        self.findings.append(finding(code, where, what))


def gather(paths: Iterable[Path]) -> Inputs:
    """Raises UsageError for a path that does not exist or holds nothing to check."""
    inputs = Inputs()
    plain: list[Path] = []
    folders: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        if path.is_dir():
            found_files, found_folders = _walk(path, inputs)
            if not found_files and not found_folders and not inputs.skipped:
                raise UsageError(f"{path}: no YAML file in this folder")
            plain += found_files
            folders += found_folders
        else:
            plain.append(path)
    resources = [r for path in dict.fromkeys(plain) for r in _read(path, inputs)]
    _twice(resources, inputs)
    if resources:
        inputs.configurations.append(Configuration("files", resources))
    _build_all(list(dict.fromkeys(folders)), inputs)
    return inputs


def _walk(folder: Path, inputs: Inputs) -> tuple[list[Path], list[Path]]:
    """The plain YAML files below a folder, and its folders with a kustomization."""
    files: list[Path] = []
    folders: list[Path] = []
    todo = [(folder, False)]
    while todo:
        current, owned = todo.pop()
        try:
            entries = sorted(current.iterdir(), reverse=True)
            built = kustomize.find_file(current) is not None
            chart = (current / "Chart.yaml").is_file()
        except OSError as error:
            inputs.problem("SL-M001", MeshError(f"{current}: {error.strerror}"), current)
            continue
        if built:
            folders.append(current)
            owned = True  # its files belong to it, and patches among them are no whole objects
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
                if chart and entry.name == "templates":
                    inputs.skipped += 1
                else:
                    todo.append((entry, owned))
            elif entry.suffix in SUFFIXES and entry.is_file() and not owned:
                files.append(entry)
        if len(files) > MAX_FILES:
            raise UsageError(f"{folder}: more than {MAX_FILES} YAML files")
    return sorted(files), sorted(folders)


def _read(path: Path, inputs: Inputs) -> Iterator[Resource]:
    """The objects of a file; a file without any is skipped, one with a broken document is a finding."""
    inputs.files.add(path)
    try:
        documents = [d for d in load_documents(read_text(path), path) if d is not None]
    except MeshError as error:
        inputs.problem("SL-M001", error, path)
        return
    objects = [d for d in documents if isinstance(d, Map) and d.get("kind") and d.get("apiVersion")]
    if not objects:
        inputs.skipped += 1
        return
    for document in documents:
        if document not in objects:
            at = document.at if isinstance(document, Map | Seq) else Position(path, 1)
            inputs.findings.append(finding("SL-M001", at, "a document without apiVersion and kind"))
    for body in objects:
        items = body.get("items")
        if body["kind"] == "List" and isinstance(items, Seq):
            yield from (Resource(item) for item in items if isinstance(item, Map))
        else:
            yield Resource(body)


def _twice(resources: list[Resource], inputs: Inputs) -> None:
    seen: dict[tuple[str, str, str, str], Resource] = {}
    for resource in resources:
        key = (resource.group, resource.kind, resource.namespace, resource.name)
        first = seen.setdefault(key, resource)
        if first is not resource and resource.name and resource.group.endswith("istio.io"):
            inputs.findings.append(finding("SL-M007", resource.at, f"{resource} is at {first.at} too"))


def _build_all(folders: list[Path], inputs: Inputs) -> None:
    bases = [folder for folder in folders if not _is_component(folder)]
    for folder in bases:
        _build(folder, None, inputs)
    for folder in folders:
        if folder not in bases:
            base = _nearest(folder, bases)
            if base is None:
                what = "a component changes a kustomization, and none is among the paths: give its base too"
                inputs.findings.append(finding("SL-M006", Position(folder, 1), what))
            else:
                _build(base, folder, inputs)


def _build(folder: Path, component: Path | None, inputs: Inputs) -> None:
    loaded = kustomize.Loaded()
    components = [component] if component else []
    try:
        try:
            resources = kustomize.load([folder], components, loaded)
        except MeshError as error:
            # Only a part of kustomize is built in; kubectl, where it is there, knows the rest.
            if "kubectl kustomize" not in str(error):
                raise
            resources = build_with_kubectl(folder, component)
    except MeshError as error:
        inputs.problem("SL-M006", error, component or folder)
        return
    finally:
        inputs.files |= loaded.files
    name = f"{folder} with {component}" if component else str(folder)
    inputs.configurations.append(Configuration(name, resources))


def _is_component(folder: Path) -> bool:
    file = kustomize.find_file(folder)
    try:
        body = next(iter(load_documents(read_text(file), file)), None) if file else None
    except MeshError:
        return False  # building it will say what is wrong
    return isinstance(body, Map) and body.get("kind") == "Component"


def _nearest(component: Path, bases: list[Path]) -> Path | None:
    """The kustomization that shares the longest path; among equals one that is called base."""

    def rank(base: Path) -> tuple[int, bool, str]:
        shared = len(Path(commonpath([base.resolve(), component.resolve()])).parts)
        return -shared, base.name != "base", str(base)

    return min(bases, key=rank, default=None)


def _split(message: str, path: Path) -> tuple[Position, str]:
    """ "file:line: what" as position and sentence."""
    head, colon, what = message.partition(": ")
    name, _, line = head.rpartition(":")
    if colon and line.isdigit():
        return Position(Path(name), int(line)), what
    return Position(Path(head) if colon else path, 1), what or message
