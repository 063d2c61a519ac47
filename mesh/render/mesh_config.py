"""The part of Istio's mesh-wide configuration that the local mesh follows: the access log's format, and how paths
are normalised. Read from Helm values of istiod (`meshConfig: ...`) or from a MeshConfig itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.render.fields import Fields, Report
from mesh.resources import MeshError, Position, load_documents, read_text

NORMALIZATIONS: Mapping[str, Mapping[str, object]] = {
    "NONE": {},
    "BASE": {"normalize_path": True},
    "DEFAULT": {"normalize_path": True},
    "MERGE_SLASHES": {"normalize_path": True, "merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}


@dataclass(frozen=True, slots=True)
class MeshDefaults:
    """`log_formats`: the JSON fields of each envoyFileAccessLog provider."""

    normalization: str = "DEFAULT"
    log_formats: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_mesh_config(path: Path, report: Report) -> MeshDefaults:
    """The defaults of a file; what else it holds is noted as of the cluster. Raises MeshError."""
    document = next(iter(load_documents(read_text(path), path)), None)
    top = Fields(document, "values", report, Position(path, 1))
    mesh = top.fields("meshConfig") if "meshConfig" in top else top
    formats: dict[str, Mapping[str, str]] = {}
    with mesh.fields("pathNormalization") as paths:
        normalization = paths.text("normalization", "DEFAULT", choices=tuple(NORMALIZATIONS))
    for provider in mesh.each("extensionProviders"):
        name = provider.text("name")
        if "envoyFileAccessLog" not in provider:
            others = [key for key in provider.node if key != "name"]
            provider.only_in_cluster("the local mesh sends nothing to other programs", *others)
            continue
        log = provider.fields("envoyFileAccessLog")
        log.only_in_cluster("the local mesh writes a file of its own", "path")
        labels = log.fields("logFormat").mapping("labels")
        if not labels:
            raise MeshError(f"{log.at('logFormat')}: {name}: expected logFormat.labels")
        formats[name] = labels
    for key in mesh.node:
        if key not in mesh.read:
            report.only_in_cluster(mesh.at(key), f"meshConfig.{key}", "part of istiod, which is not here")
    return MeshDefaults(normalization, formats)
