"""REST requests: TF Serving's JSON to arrays, with its checks and texts."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.errors import Code, ServingError, invalid, truncated

Format = Literal["row", "columnar"]
_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)
_INT_RANGES = {np.dtype(integer): np.iinfo(integer) for integer in _INTEGERS}
_NUMPY = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_STRING: object,
}
_NO_SPACE = str.maketrans("", "", " \t\n\r\f\v")  # base64 may be wrapped and unpadded
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
        document = json.loads(body.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise invalid(_parse_error(error)) from None
    except (RecursionError, ValueError) as error:  # nested too deep, a number of too many digits
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


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


def _shown(value: Any) -> str:
    """A JSON value in an error's text."""
    return truncated(json.dumps(value, indent=4, ensure_ascii=False))


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def signature_name(document: Mapping[str, Any]) -> str:
    """The request's signature_name, or ""."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def parse_inputs(
    document: Mapping[str, Any], infos: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], Format]:
    """The request's tensors; `infos` are the signature's inputs (TensorInfo by name). Raises ServingError."""
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if "instances" in document:
        return _parse_instances(document, infos), "row"
    if "inputs" in document:
        return _parse_columns(document["inputs"], infos), "columnar"
    raise invalid("Missing 'inputs' or 'instances' key")


def _parse_columns(value: Any, infos: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not isinstance(value, dict) or _is_bytes(value):
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
        raise invalid(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = isinstance(rows[0], dict) and not _is_bytes(rows[0])
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in infos}
    for index, row in enumerate(rows):
        _add_row(index, row, named, infos, columns)
    return {name: np.stack(column) for name, column in columns.items()}


def _add_row(
    index: int, row: Any, named: bool, infos: Mapping[str, Any], columns: dict[str, list[NDArray[Any]]]
) -> None:
    """Add one element of `instances` to the columns."""
    is_object = isinstance(row, dict) and not _is_bytes(row)
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
            f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(row)} must only "
            f"have keys: {','.join(sorted(infos))}"
        )


def _check_like(first: NDArray[Any], array: NDArray[Any]) -> None:
    if first.size != array.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
    if first.shape != array.shape:

        def shown(shape: tuple[int, ...]) -> str:
            return "[" + ",".join(map(str, shape)) + "]"

        raise invalid(f"Expecting shape {shown(first.shape)} but got: {shown(array.shape)}")


def parse_tensor(value: Any, dtype: int) -> NDArray[Any]:
    """A JSON value (scalar or nested lists) as an array of a TensorFlow dtype; raises ServingError."""
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    flat: list[Any] = []
    _flatten(value, 0, shape, dtype, flat)
    array: NDArray[Any] = np.empty(len(flat), _NUMPY.get(dtype, object))
    array[:] = flat
    return array.reshape(shape)


def _flatten(value: Any, level: int, shape: list[int], dtype: int, out: list[Any]) -> None:
    """Append the leaves of `value` to `out`, checked against the shape that its first elements show."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        out.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and _all_fit(value, dtype):
        out.extend(value)
        return
    for item in value:
        _flatten(item, level + 1, shape, dtype, out)


def _all_fit(values: list[Any], dtype: int) -> bool:
    """True when a list of numbers surely fits the dtype: the quick way for long lists."""
    numpy, types = _NUMPY.get(dtype), set(map(type, values))
    if not values:
        return True
    if numpy in (np.float32, np.float64) and types <= {int, float}:
        low, high = float(min(values)), float(max(values))
        if int in types:
            return max(-low, high) <= (1 << 24) - 1
        return math.isfinite(low + high) and max(-low, high) <= float(np.finfo(np.float32).max)
    if types == {int} and np.dtype(numpy) in _INT_RANGES:
        limits = _INT_RANGES[np.dtype(numpy)]
        return bool(limits.min <= min(values) and max(values) <= limits.max)
    return False


def _type_error(value: Any, dtype: int) -> Exception:
    kinds = {type(None): "Null", list: "Array", dict: "Object", str: "String"}
    kind = str(value) if isinstance(value, bool) else kinds.get(type(value), "Number")
    expected = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
    return invalid(f"JSON Value: {_shown(value)} Type: {kind} is not of expected type: {expected}")


def _leaf(value: Any, dtype: int) -> Any:
    """One JSON value, checked to fit the dtype without loss."""
    numpy = _NUMPY.get(dtype)
    if numpy is None:
        name = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {_shown(value)} to type: {name}")
    if numpy is object:
        return _string(value, dtype)
    if numpy is np.bool_:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _type_error(value, dtype)
    if numpy in (np.float32, np.float64):
        return _decimal(value, numpy)
    limits = _INT_RANGES[np.dtype(numpy)]
    wide = np.iinfo(np.int32) if limits.bits < 32 else limits  # 8 and 16 bits travel as int32 and wrap
    if not isinstance(value, int) or not wide.min <= value <= wide.max:
        raise _type_error(value, dtype)
    return np.int32(value).astype(numpy) if limits.bits < 32 else value


def _decimal(value: float, numpy: Any) -> float:
    digits, largest = (24, float(np.finfo(np.float32).max)) if numpy is np.float32 else (53, float("inf"))
    if isinstance(value, int):
        fits = abs(value) <= (1 << digits) - 1
    else:
        fits = not math.isfinite(value) or abs(value) <= largest
    if not fits:
        kind = "float" if numpy is np.float32 else "double"
        raise invalid(f"Cannot convert JSON value: {_shown(value)} to {kind} without loss of precision.")
    return value


def _string(value: Any, dtype: int) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode(
                "utf-8", "surrogateescape"
            )  # bytes that are no UTF-8 come through as they were
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    if not isinstance(value, dict):
        raise _type_error(value, dtype)
    if not _is_bytes(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = value["b64"].translate(_NO_SPACE).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None
