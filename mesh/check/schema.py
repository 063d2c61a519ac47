"""Resources against the schemas of their kinds: unknown fields, wrong types, missing fields."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mesh.check.findings import Finding, finding
from mesh.check.nodes import at
from mesh.resources import Map, Position, Resource, Seq, position

SCHEMAS = Path(__file__).parent / "schemas"
FILES = {
    "istio.io": "istio",
    "gateway.networking.k8s.io": "gateway-api",
    "gateway.networking.x-k8s.io": "gateway-api",
}
KIND_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
}
KIND_WORDS |= {"object": "a mapping", "array": "a list"}


def check(resource: Resource) -> Iterator[Finding]:
    """What the schema says. Kinds of other groups than Istio's and the Gateway API's are not looked at."""
    file = _file(resource.group)
    if file is None:
        return
    known = _kinds(file)
    name = f"{resource.api_version} {resource.kind}"
    if name not in known:
        yield _unknown_kind(resource, known)
        return
    versions = [key.split()[0].rpartition("/")[2] for key in known if key.endswith(f" {resource.kind}")]
    if "v1" in versions and not resource.api_version.endswith("/v1"):
        what = f"{resource}: {resource.api_version}, and {resource.group}/v1 exists"
        yield finding("SL-M005", at(resource.body, "apiVersion"), what)
    if not resource.name and not resource.metadata.get("generateName"):
        yield finding("SL-M003", at(resource.body, "metadata"), f"{resource.kind}: metadata.name is missing")
    for error in _validator(file, known[name]).iter_errors(resource.body):
        yield from _explain(error, resource)


def _file(group: str) -> str | None:
    return next(
        (file for suffix, file in FILES.items() if group == suffix or group.endswith("." + suffix)), None
    )


@cache
def _bundle(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress((SCHEMAS / f"{file}.json.gz").read_bytes()))
    return found


def _kinds(file: str) -> dict[str, str]:
    found: dict[str, str] = _bundle(file)["kinds"]
    return found


@cache
def _validator(file: str, name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": _bundle(file)["$defs"]})


def _unknown_kind(resource: Resource, known: dict[str, str]) -> Finding:
    versions = [key.split()[0] for key in known if key.endswith(f" {resource.kind}")]
    same_group = [v for v in versions if v.startswith(resource.group + "/")] or versions
    if same_group:
        hint = f"{resource.kind} has {' and '.join(sorted(same_group))}"
    else:
        kinds = {key.split()[1] for key in known}
        close = get_close_matches(resource.kind, kinds, n=1)
        hint = f"did you mean {close[0]}?" if close else "Istio has no such kind"
    where = at(resource.body, "apiVersion" if same_group else "kind")
    return finding("SL-M004", where, f"{resource.api_version} {resource.kind}: {hint}")


def _explain(error: ValidationError, resource: Resource) -> Iterator[Finding]:
    """One finding, or several for several unknown fields, of a jsonschema error."""
    node, where = _locate(resource.body, list(error.absolute_path))
    path = _dotted(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(node, Map):
        schema: Any = error.schema
        fields = list(schema["properties"])
        for key in node:
            if key not in fields:
                yield _unknown_field(node, key, path, fields, resource)
        return
    yield finding("SL-M003", where, f"{path or resource.kind}: {_say(error)}")


def _unknown_field(node: Map, key: str, path: str, fields: list[str], resource: Resource) -> Finding:
    by_lower = {name.lower(): name for name in fields}
    close = [by_lower[m] for m in get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)]
    hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(sorted(fields))}"
    return finding("SL-M002", position(node, key), f"{key} is no field of {path or resource.kind}{hint}")


def _say(error: ValidationError) -> str:
    """A jsonschema error in our words."""
    value: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        expected = KIND_WORDS.get(kinds[0], kinds[0])
        return f"expected {expected}, got {_brief(value)}"
    if error.validator == "enum":
        return f"expected one of {', '.join(map(str, wanted))}, got {_brief(value)}"
    if error.validator == "required":
        return f"{error.message.split(' is a')[0].strip(chr(39))} is missing"
    if error.validator in ("oneOf", "anyOf"):
        names = sorted(set(_required(wanted)))
        both = [name for name in names if isinstance(value, dict) and name in value]
        got = f"got {' and '.join(both)}" if both else "got none"
        return (
            f"only one of {', '.join(names)} may be set, {got}" if names else "fits none of the allowed forms"
        )
    if error.validator in ("minimum", "maximum"):
        return f"{error.validator} is {wanted}, got {value}"
    if error.validator in ("minLength", "minItems", "minProperties") and not value:
        return "must not be empty"
    if error.validator == "pattern":
        return f"{_brief(value)} does not fit {wanted}"
    return f"{error.validator} is {wanted}"


def _required(branches: Any) -> Iterator[str]:
    """The field names that a oneOf tells apart; its branches are references to `required` or `properties`."""
    defs = {**_bundle("istio")["$defs"], **_bundle("gateway-api")["$defs"]}
    todo = list(branches)
    while todo:
        branch = todo.pop()
        branch = defs.get(branch.get("$ref", "").removeprefix("#/$defs/"), branch)
        yield from branch.get("required", [])
        todo += branch.get("anyOf", [])
        if "not" in branch:
            todo.append(branch["not"])


def _brief(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _locate(body: Map, path: list[str | int]) -> tuple[Any, Position]:
    node: Any = body
    where = body.at
    for key in path:
        if isinstance(node, Map | Seq):
            where = position(node, key)
        node = node[key]
    return node, where


def _dotted(path: Any) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
