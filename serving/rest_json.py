"""REST requests: TF Serving's JSON to arrays, with its checks and texts."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.errors import ServingError, invalid
from serving.rest_tensor import Constant, is_bytes, parse_tensor, shown

Format = Literal["row", "columnar"]
_SHORT = re.compile(r'("(?:[^"\\]|\\.)*")|-?Inf\b|-NaN\b')
_LONG = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
_PARSE_ERRORS = (  # Python's message, RapidJSON's
    ("Extra data", "The document root must not be followed by other values."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control character", "Invalid encoding in string."),
)


def parse_body(body: bytes) -> dict[str, Any]:
    """A request's JSON object; raises ServingError (INVALID_ARGUMENT)."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = _load(body.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise invalid(_parse_error(error)) from None
    except (RecursionError, ValueError) as error:  # nested too deep, a number of too many digits
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def _load(text: str) -> Any:
    """JSON as RapidJSON reads it: with Inf and -NaN, and the first of the values under one key."""
    try:
        return json.loads(text, object_pairs_hook=_first_wins, parse_constant=Constant)
    except json.JSONDecodeError:
        longer = _SHORT.sub(lambda found: found[1] or _LONG.get(found[0], found[0]), text)
        if longer == text:
            raise
        return json.loads(longer, object_pairs_hook=_first_wins, parse_constant=Constant)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _parse_error(error: json.JSONDecodeError) -> str:
    offset = len(error.doc[: error.pos].encode("utf-8", "surrogateescape"))
    if error.pos >= len(error.doc) and not error.doc.strip():
        return "JSON Parse error: The document is empty. at offset: " + str(offset)
    if error.msg.startswith("Expecting ','"):
        inside = "]" if _innermost(error.doc[: error.pos]) == "[" else "}"
        kind = "array element" if inside == "]" else "object member"
        return f"JSON Parse error: Missing a comma or {inside} after an {kind}. at offset: {offset}"
    text = next((theirs for ours, theirs in _PARSE_ERRORS if error.msg.startswith(ours)), "Invalid value.")
    return f"JSON Parse error: {text} at offset: {offset}"


def _innermost(text: str) -> str:
    """The innermost bracket that is open at the end of `text`."""
    stack: list[str] = []
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        if bracket in "[{":
            stack.append(bracket)
        elif stack:
            stack.pop()
    return stack[-1] if stack else ""


def signature_name(document: Mapping[str, Any]) -> str:
    """The request's signature_name, or ""."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def parse_inputs(
    document: Mapping[str, Any], infos: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], Format]:
    """The request's tensors; `infos` are the signature's inputs (TensorInfo by name). Raises ServingError."""
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if "instances" in document:
        return _parse_instances(document, infos), "row"
    if "inputs" in document:
        return _parse_columns(document["inputs"], infos), "columnar"
    raise invalid("Missing 'inputs' or 'instances' key")


def _parse_columns(value: Any, infos: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not isinstance(value, dict) or is_bytes(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        (name,) = infos
        return {name: parse_tensor(value, infos[name].dtype)}
    arrays = {}
    for name in sorted(infos):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = parse_tensor(value[name], infos[name].dtype)
    return arrays


def _parse_instances(document: Mapping[str, Any], infos: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = isinstance(rows[0], dict) and not is_bytes(rows[0])
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in infos}
    for index, row in enumerate(rows):
        _add_row(index, row, named, infos, columns)
    return {name: np.stack(column) for name, column in columns.items()}


def _add_row(
    index: int, row: Any, named: bool, infos: Mapping[str, Any], columns: dict[str, list[NDArray[Any]]]
) -> None:
    """Add one element of `instances` to the columns."""
    is_object = isinstance(row, dict) and not is_bytes(row)
    if named != is_object:
        found, expected = ("list", "object") if named else ("object", "value/list")
        raise invalid(f"Expecting {expected} but got {found} at item {index} of input list")
    items = row if named else {next(iter(infos)): row}
    for name, value in items.items():
        where = f"{index} key: {name}" if named else str(index)
        try:
            if name not in infos:
                raise invalid(f"JSON object: does not have named input: {name}")
            array = parse_tensor(value, infos[name].dtype)
            if columns[name]:
                _check_like(columns[name][0], array)
        except ServingError as error:
            raise invalid(f"Failed to process element: {where} of 'instances' list. Error: {error}") from None
        columns[name].append(array)
    if items.keys() != infos.keys():
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} keys must be "
            f"equal to: {','.join(sorted(infos))}"
        )


def _check_like(first: NDArray[Any], array: NDArray[Any]) -> None:
    if first.size != array.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
    if first.shape != array.shape:

        def dims(shape: tuple[int, ...]) -> str:
            return "[" + ",".join(map(str, shape)) + "]"

        raise invalid(f"Expecting shape {dims(first.shape)} but got: {dims(array.shape)}")
