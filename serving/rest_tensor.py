"""One JSON value of a REST request as an array of a TensorFlow dtype."""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.errors import Code, ServingError, invalid, truncated
from serving.rest_format import decimals
from serving.tensors import MAX_DIMS

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
_FLOAT_MAX = float(np.finfo(np.float32).max)
_NO_SPACE = str.maketrans("", "", " \t\n\r\f\v")  # base64 may be wrapped
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")  # absl pads with a dot too


class Constant(float):
    """A bare NaN, Infinity or -Infinity; any other infinite number of a request was too big for a float64."""


def shown(value: Any) -> str:
    """A JSON value in an error's text, cut when long."""
    if isinstance(value, float):
        kind = np.float64 if abs(value) > _FLOAT_MAX or math.isnan(value) else np.float32
        return decimals(np.array([value], kind))[0]
    try:
        return truncated(json.dumps(value, indent=4, ensure_ascii=False))
    except RecursionError:
        return "(nested too deep to show)"


def is_bytes(value: Any) -> bool:
    """Whether a JSON value is TF Serving's way to write bytes: `{"b64": "…"}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def parse_tensor(value: Any, dtype: int) -> NDArray[Any]:
    """A JSON value (scalar or nested lists) as an array of a TensorFlow dtype; raises ServingError."""
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    if len(shape) >= MAX_DIMS:  # rows get one more when they are stacked
        raise invalid(f"Encountered lists {len(shape)} levels deep: expected less than {MAX_DIMS}")
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
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
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
        low, high = min(values), max(values)
        if int in types:
            return bool(max(-low, high) <= (1 << 24) - 1)
        return bool(math.isfinite(low + high) and max(-low, high) <= _FLOAT_MAX)
    if types == {int} and np.dtype(numpy) in _INT_RANGES:
        limits = _INT_RANGES[np.dtype(numpy)]
        return bool(limits.min <= min(values) and max(values) <= limits.max)
    return False


def json_type(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    kinds = {type(None): "Null", list: "Array", dict: "Object", str: "String"}
    return str(value) if isinstance(value, bool) else kinds.get(type(value), "Number")


def _type_error(value: Any, dtype: int) -> Exception:
    expected = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
    return invalid(f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {expected}")


def _leaf(value: Any, dtype: int) -> Any:
    """One JSON value, checked to fit the dtype without loss."""
    numpy = _NUMPY.get(dtype)
    if numpy is None:
        name = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {name}")
    if numpy is object:
        return _string(value, dtype)
    if numpy is np.bool_:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _type_error(value, dtype)
    if numpy in (np.float32, np.float64):
        return decimal(value, numpy)
    limits = _INT_RANGES[np.dtype(numpy)]
    wide = np.iinfo(np.int32) if limits.bits < 32 else limits  # 8 and 16 bits travel as int32 and wrap
    if not isinstance(value, int) or not wide.min <= value <= wide.max:
        raise _type_error(value, dtype)
    return np.int32(value).astype(numpy) if limits.bits < 32 else value


def decimal(value: float, numpy: Any) -> float:
    """The number, if it fits a float32 or float64 (`numpy`) without loss; raises ServingError."""
    digits, largest = (24, _FLOAT_MAX) if numpy is np.float32 else (53, float("inf"))
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        fits = abs(value) <= (1 << digits) - 1
    else:
        value = _double(value)
        fits = not math.isfinite(value) or abs(value) <= largest
    if not fits:
        kind = "float" if numpy is np.float32 else "double"
        raise invalid(f"Cannot convert JSON value: {shown(value)} to {kind} without loss of precision.")
    return value


def _double(value: float) -> float:
    """As RapidJSON reads it, integers that fit none of its types too."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number) and not isinstance(value, Constant):
        raise invalid("JSON Parse error: Number too big to be stored in double.")
    return number


def _string(value: Any, dtype: int) -> bytes:
    if not isinstance(value, str | dict):
        raise _type_error(value, dtype)
    return parse_bytes(value)


def parse_bytes(value: str | dict[str, Any]) -> bytes:
    """A JSON string, or an object with base64, as bytes; raises ServingError."""
    if isinstance(value, str):
        try:
            return value.encode(
                "utf-8", "surrogateescape"
            )  # bytes that are no UTF-8 come through as they were
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    if not is_bytes(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    found = _BASE64.fullmatch(str(value["b64"]).translate(_NO_SPACE))
    padding = -len(found[1]) % 4 if found else 3  # nothing needs 3
    if found is None or padding == 3 or len(found[2]) not in (0, padding):
        raise invalid("Unable to base64 decode")
    return binascii.a2b_base64(found[1] + "=" * padding)
