"""Objects against the schemas of their kinds: Kubernetes' own strictly, the operators' where a schema is at hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from mesh.check import schema as mesh_schema
from mesh.resources import Resource
from tests.k8s.rendered import HERE, Objects, of

# The oldest version that k8s/base names, the one that image volumes need, and the newest whose schemas are there.
VERSIONS = ("1.34", "1.35", "1.37")
CONSTRAINTS = "constraints.gatekeeper.sh"


def schemas(objects: Objects) -> Iterator[str]:
    """What the API server would refuse, or drop without a word."""
    for resource in objects:
        if resource.group.endswith((".istio.io", "gateway.networking.k8s.io")):
            yield from (f"{resource}: {found.what}" for found in mesh_schema.check(resource))
        elif resource.group == CONSTRAINTS:
            yield from _constraint(resource, objects)
        elif (validator := _custom(f"{resource.api_version} {resource.kind}")) is not None:
            for error in validator.iter_errors(resource.body):
                yield f"{resource}: {error.json_path}: {error.message[:200]}"
        else:
            yield from _native(resource)


def _native(resource: Resource) -> Iterator[str]:
    yield from (f"{resource}: {found}" for found in _native_findings(json.dumps(resource.body)))


@cache  # combinations share most of their objects
def _native_findings(body: str) -> tuple[str, ...]:
    data = json.loads(body)
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(data, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return (f"Kubernetes {version}: {error.message[:200]}",)
        except kubernetes_validate.SchemaNotFoundError:
            return (f"no schema for {data['apiVersion']} {data['kind']} in {version}",)
    return ()


def _constraint(resource: Resource, objects: Objects) -> Iterator[str]:
    """A constraint's kind and parameters are what its template says."""
    for template in of(objects, "ConstraintTemplate"):
        crd = template.spec["crd"]["spec"]
        if crd["names"]["kind"] == resource.kind:
            wanted = crd.get("validation", {}).get("openAPIV3Schema", {"maxProperties": 0})
            for error in jsonschema.Draft202012Validator(_close(wanted)).iter_errors(
                resource.spec.get("parameters", {})
            ):
                yield f"{resource}: parameters: {error.message[:200]}"
            return
    yield f"{resource}: no ConstraintTemplate of this kind"


@cache
def _custom(kind: str) -> jsonschema.Draft202012Validator | None:
    bundle = json.loads(gzip.decompress((HERE / "schemas" / "crds.json.gz").read_bytes()))
    if kind in bundle["kinds"]:
        name = bundle["kinds"][kind]
        return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": bundle["$defs"]})
    by_hand = yaml.safe_load((HERE / "schemas" / "by-hand.yaml").read_text())
    if kind in by_hand:
        spec = {"type": "object", "required": ["spec"], "properties": {"spec": _close(by_hand[kind])}}
        return jsonschema.Draft202012Validator(spec | {"$defs": _close(by_hand["$defs"])})
    return None


def _close(node: Any) -> Any:
    """Objects that list their properties have no others."""
    if isinstance(node, list):
        return [_close(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _close(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        closed.setdefault("additionalProperties", False)
    return closed
