"""`sightline mesh render`: the configuration that istiod would make of the files, to look at."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import yaml

from mesh.kustomize import load
from mesh.render.assemble import ROLES, Rendered, assemble
from mesh.render.context import Json
from mesh.render.fields import Report
from mesh.render.mesh_config import MeshDefaults, read_mesh_config
from mesh.render.topology import Topology, read_topology
from mesh.resources import MeshError


def static_bootstrap(rendered: Rendered) -> Json:
    """One file that Envoy starts with: routes stand in their listeners instead of coming by discovery."""
    routes = {route["name"]: route for route in rendered.routes}

    def inline(node: object) -> object:
        if isinstance(node, dict):
            found = {key: inline(value) for key, value in node.items() if key != "rds"}
            if "rds" in node:
                found["route_config"] = routes[node["rds"]["route_config_name"]]
            return found
        return [inline(value) for value in node] if isinstance(node, list) else node

    node = {"id": "sightline-mesh", "cluster": "sightline"}
    return {
        "node": node,
        "static_resources": {"listeners": inline(rendered.listeners), "clusters": rendered.clusters},
    }


def render(
    paths: Sequence[Path],
    topology: Topology,
    components: Sequence[Path] = (),
    mesh_config: Path | None = None,
    roles: Sequence[str] = ROLES,
) -> Rendered:
    """Translate files. Raises MeshError: a line for each field that is used but not translated."""
    report = Report()
    defaults = read_mesh_config(mesh_config, report) if mesh_config else MeshDefaults()
    rendered = assemble(load(paths, components), topology, defaults, tuple(roles))
    rendered.report.cluster_only[:0] = report.cluster_only
    return rendered


def run(
    paths: Sequence[Path],
    endpoints: Path,
    *,
    components: Sequence[Path] = (),
    mesh_config: Path | None = None,
    role: str = "",
    as_json: bool = False,
    jwks: str = '{"keys": []}',
    issuer: str = "",
    output: TextIO | None = None,
    notes: TextIO | None = None,
) -> int:
    """Print Envoy's configuration of all roles or one, and on `notes` what only means something in a cluster.

    `output` and `notes` are standard output and error unless given. Returns the exit status: 0, or 1 after the
    problems, a line each.
    """
    output, notes = output or sys.stdout, notes or sys.stderr
    try:
        if role and role not in ROLES:
            raise MeshError(f"--role {role}: expected one of {', '.join(ROLES)}")
        topology = dataclasses.replace(read_topology(endpoints), jwks={issuer: jwks} if issuer else {})
        rendered = render(paths, topology, components, mesh_config, (role,) if role else ROLES)
    except MeshError as error:
        print(error, file=notes)
        return 1
    bootstrap = static_bootstrap(rendered)
    if as_json:
        print(json.dumps(bootstrap, indent=2), file=output)
    else:
        yaml.dump(bootstrap, output, Dumper=_Plain, sort_keys=False, width=110)
    for entry in rendered.report.cluster_only:
        print(f"only in a cluster: {entry}", file=notes)
    return 0


class _Plain(yaml.SafeDumper):
    """Without anchors: parts that are the same object are written out."""

    def ignore_aliases(self, data: object) -> bool:
        return True
