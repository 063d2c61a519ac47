"""What is wrong with a profile's YAML, in words: what profiles/schema.json expects, and what came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

FILE = Path(__file__).with_name("profiles") / "schema.json"
TYPES = {
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
SHOWN = 60  # characters of what came


def problem(data: object) -> str:
    """`stages: 0: users: expected a whole number or ..., got 'two'`; "" for data that is as it should be."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(data))
    if error is None:
        return ""
    where = "".join(f"{part}: " for part in error.absolute_path)
    return f"{where}expected {_expected(error)}"


def _expected(error: jsonschema.ValidationError) -> str:
    """What a part of the schema asks for, and what it got."""
    schema: Mapping[str, Any] = error.schema  # type: ignore[assignment]
    limit: Any = error.validator_value
    came: Any = error.instance
    match error.validator:
        case "required":
            return f"{_kind(schema)}, got no {next(name for name in limit if name not in came)}"
        case "additionalProperties":
            known = schema["properties"]
            return f"one of {', '.join(known)}, got {next(name for name in came if name not in known)!r}"
        case "minProperties":
            return f"one or more of {', '.join(schema['properties'])}, got none"
        case "minItems":
            return "a list of one or more, got none"
        case "minimum":
            wanted = f"{limit} or more"
        case "maximum":
            wanted = f"{limit} or less"
        case "exclusiveMinimum":
            wanted = f"more than {limit}"
        case "enum":
            wanted = f"one of {', '.join(limit)}"
        case "anyOf":
            wanted = " or ".join(_kind(option) for option in limit)
        case "type":
            wanted = _kind(schema)
        case "pattern":
            wanted = schema["description"]
        case _:  # minLength
            wanted = "some text"
    return f"{wanted}, got {_shown(came)}"


def _kind(schema: Mapping[str, Any]) -> str:
    """What a schema stands for, a mapping with its fields."""
    required = ", ".join(schema.get("required", ()))
    if "type" not in schema:
        return required
    return TYPES.get(schema["type"]) or f"a mapping {{{required or ', '.join(schema['properties'])}}}"


def _shown(came: object) -> str:
    if came is None:
        return "nothing"
    text = repr(came) if isinstance(came, str) else json.dumps(came, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(FILE.read_text()))
