"""Write the JSON schemas of Istio's and the Gateway API's custom resources from their npm packages.

    python -m mesh.check.extract_schemas FOLDER

FOLDER holds the archives that `npm pack NAME@VERSION` wrote. The packages (MIT, made from the projects' own
CRDs, Apache-2.0) carry each schema compiled to a JavaScript function; the compiled form is regular, and this
reads it back. Every object whose fields are known is closed: an unknown field is what a lint is for.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

Schema = dict[str, Any]

# npm's `dist.integrity` of exactly these versions; Istio's are the CRDs of 1.29.2.
PACKAGES = {
    "kubernetes-models-istio-3.0.1.tgz": (
        "istio",
        "sha512-Ez+BM4WGjmkwQa4gSHuFKHZOha0fvwPOl3VZHgdUwBkO6FR08iDoLKFWM5WOoyMm3VbBnKGbWflsvNZ0BvoG6Q==",
    ),
    "kubernetes-models-gateway-api-2.0.0.tgz": (
        "gateway-api",
        "sha512-e7SY7EkCGRHy5wHkaGhP32v7V1L+gBalfoqZDFDWn5k9Q7+IW6uz9jNWgOZ9R/Hv5NWyAFYaA01ET2qsysVt5A==",
    ),
}
FUNCTION = re.compile(
    r"function (validate\d+)\(data,.*?return (?:.*?,)?\1\.errors=vErrors,0===errors\}", re.S
)
IMPORT = re.compile(r'import\{validate as (validate\d+)\}from"([^"]+)"')
PROPERTY = re.compile(
    r'(validate\d+)\(data(?:\.[\w$]+|\["[^"]+"\]),\{instancePath:instancePath\+"[^"]*",'
    r'parentData:data,parentDataProperty:"([^"]+)"'
)
ENUM = re.compile(r"(?:let |,)(schema\d+_enum)=(\[.*?\])(?=[;,])")
LIMITS = (
    "maximum",
    "minimum",
    "maxItems",
    "minItems",
    "maxLength",
    "minLength",
    "maxProperties",
    "minProperties",
)


def main(folder: Path) -> None:
    for archive, (name, integrity) in PACKAGES.items():
        data = (folder / archive).read_bytes()
        found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != integrity:
            sys.exit(f"{archive}: its sha512 is {found}, expected {integrity}")
        bundle = extract(folder / archive)
        text = json.dumps(bundle, separators=(",", ":"), sort_keys=True)
        out = Path(__file__).parent / "schemas" / f"{name}.json.gz"
        out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{out.name}: {len(bundle['kinds'])} kinds, {out.stat().st_size} bytes")


def extract(archive: Path) -> Schema:
    """`kinds`: "apiVersion kind" to the name of its schema in `$defs`."""
    with tarfile.open(archive) as tar:
        sources = {
            PurePosixPath(member.name).stem: tar.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in tar.getmembers()
            if "/_schemas/" in member.name and member.name.endswith(".js")
        }
    defs: dict[str, Schema] = {}
    for file, source in sources.items():
        read_file(file, source, defs)
    for name in list(defs):
        flatten(name, defs)
    kinds = {}
    for file in sources:
        root = defs[file]
        fields = root.get("properties", {})
        if {"apiVersion", "kind", "metadata"} <= set(fields) and not file.endswith("List"):
            version, kind = resolve(fields["apiVersion"], defs), resolve(fields["kind"], defs)
            if "enum" not in version:
                continue  # a reference to an object of any kind
            kinds[f"{version['enum'][0]} {kind['enum'][0]}"] = file
            fields.pop("status", None)  # written by controllers, never by people
    return {"kinds": kinds, "$defs": reachable(kinds.values(), defs)}


def read_file(file: str, source: str, defs: dict[str, Schema]) -> None:
    """One compiled module: each function becomes a definition "file.n", its exported one "file"."""
    names = {m[1]: PurePosixPath(m[2]).stem for m in IMPORT.finditer(source)}
    enums = {m[1]: json.loads(m[2]) for m in ENUM.finditer(source)}
    bodies = {m[1]: m[0] for m in FUNCTION.finditer(source)}
    if len(bodies) != source.count("function validate"):
        raise ValueError(f"{file}: {len(bodies)} functions read of {source.count('function validate')}")
    for function in bodies:
        names[function] = f"{file}.{function.removeprefix('validate')}"
    exported = re.search(r"export const validate=(validate\d+)", source)
    if exported is None:
        raise ValueError(f"{file}: nothing exported")
    defs[file] = {"$ref": f"#/$defs/{names[exported[1]]}"}
    for function, body in bodies.items():
        defs[names[function]] = read_function(body, names, enums)


def read_function(body: str, names: dict[str, str], enums: dict[str, Any]) -> Schema:
    """The schema that a compiled function checks."""
    schema: Schema = {}

    def ref(function: str) -> Schema:
        return {"$ref": f"#/$defs/{names[function]}"}

    if kind := re.search(r'keyword:"type",params:\{type:"(\w+)"\}', body):
        schema["type"] = [kind[1], "null"] if "null!==data" in body else kind[1]
    if fields := {m[2]: ref(m[1]) for m in PROPERTY.finditer(body)}:
        if len(fields) != len(re.findall(r"\(data(?:\.[\w$]+|\[\"[^\"]+\"\]),\{instancePath", body)):
            raise ValueError("a property was not read")
        schema["properties"] = fields
    if items := re.search(r"(validate\d+)\(data\[i0\]", body):
        schema["items"] = ref(items[1])
    if values := re.search(r"(validate\d+)\(data\[key0\]", body):
        schema["additionalProperties"] = ref(values[1])
    if required := re.findall(r'missingProperty:"([^"]+)"', body):
        schema["required"] = required
    if enum := re.search(r"allowedValues:(schema\d+_enum)", body):
        schema["enum"] = enums[enum[1]]
    if pattern := re.search(r'params:\{pattern:("(?:[^"\\]|\\.)*")\}', body):
        schema["pattern"] = json.loads(pattern[1])
    for limit in LIMITS:
        if found := re.search(rf'keyword:"{limit}",params:\{{[^}}]*limit:(-?[\w.]+)\}}', body):
            text = found[1]
            schema[limit] = int(text, 16) if text.startswith("0x") else int(float(text))
    if 'params:{format:"int32"}' in body:
        schema |= {"minimum": -(2**31), "maximum": 2**31 - 1} | schema
    read_combination(schema, body, [ref(f) for f in re.findall(r"(validate\d+)\(data,\{instancePath,", body)])
    return schema


def read_combination(schema: Schema, body: str, branches: list[Schema]) -> None:
    """Calls of other functions on the same value: the branches of the one combining keyword, or references."""
    keywords = [k for k in ("oneOf", "anyOf", "not") if f'keyword:"{k}"' in body]
    if len(keywords) > 1 or (keywords and not branches):
        raise ValueError(f"not understood: {keywords} over {len(branches)} branches")
    if not branches:
        return
    if keywords == ["not"]:
        (schema["not"],) = branches
    elif keywords:
        schema[keywords[0]] = branches
    elif len(branches) == 1 and not schema:
        schema["nullable" if "null!==data" in body else "same"] = branches[0]
    else:
        schema["allOf"] = branches


def resolve(schema: Schema, defs: dict[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = defs[flatten(schema["$ref"].removeprefix("#/$defs/"), defs)]
    return schema


def flatten(name: str, defs: dict[str, Schema]) -> str:
    """Make references that stand for the value itself plain, and close objects whose fields are known."""
    schema = defs.setdefault(name, {})  # a type of another package (metadata, conditions): anything goes
    for key in ("same", "nullable", "$ref"):
        if key in schema:
            target = schema if key == "$ref" else schema.pop(key)
            found = dict(resolve(target, defs))
            if key == "nullable" and isinstance(found.get("type"), str):
                found["type"] = [found["type"], "null"]
            schema.clear()
            schema.update(found)
    kept = []
    for branch in schema.pop("allOf", []):
        found = resolve(branch, defs)
        if "properties" in found:  # an embedded type, such as CommonRouteSpec in GRPCRouteSpec
            schema.setdefault("properties", {}).update(found["properties"])
            schema["required"] = sorted({*schema.get("required", []), *found.get("required", [])})
        elif found:
            kept.append(branch)
    if kept:
        schema["allOf"] = kept
    is_object = schema.get("type") in ("object", ["object", "null"])
    if is_object and "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return name


def reachable(roots: Any, defs: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that the roots need."""
    found: dict[str, Schema] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = defs[name]
            todo += [
                r.replace("~1", "/")
                for r in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(defs[name]))
            ]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
