"""TensorProto to numpy and back, as TensorFlow's own `Tensor::FromProto` and `AsProtoField` do it.

Bytes are moved, never looped over: a typed field of fixed width is written in protobuf's packed wire form
(1,200 floats in 0.6 µs, where `float_val.extend(list)` takes 31), and what stands before it once for each shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from serving.errors import Code, ServingError

# dtype -> numpy dtype: a struct of one integer, which is how TensorFlow's Python tells them from plain ones
QUANTISED: dict[int, Any] = {
    types_pb2.DT_QINT8: [("qint8", np.int8)],
    types_pb2.DT_QUINT8: [("quint8", np.uint8)],
    types_pb2.DT_QINT16: [("qint16", np.int16)],
    types_pb2.DT_QUINT16: [("quint16", np.uint16)],
    types_pb2.DT_QINT32: [("qint32", np.int32)],
}
# dtype -> (numpy dtype, TensorProto's typed field, dtype of that field's values)
_FIELDS: dict[int, tuple[Any, str, Any]] = {
    types_pb2.DT_FLOAT: (np.float32, "float_val", np.float32),
    types_pb2.DT_DOUBLE: (np.float64, "double_val", np.float64),
    types_pb2.DT_INT32: (np.int32, "int_val", np.int32),
    types_pb2.DT_UINT8: (np.uint8, "int_val", np.int32),
    types_pb2.DT_INT16: (np.int16, "int_val", np.int32),
    types_pb2.DT_INT8: (np.int8, "int_val", np.int32),
    types_pb2.DT_UINT16: (np.uint16, "int_val", np.int32),
    types_pb2.DT_STRING: (object, "string_val", object),
    types_pb2.DT_COMPLEX64: (np.complex64, "scomplex_val", np.float32),
    types_pb2.DT_COMPLEX128: (np.complex128, "dcomplex_val", np.float64),
    types_pb2.DT_INT64: (np.int64, "int64_val", np.int64),
    types_pb2.DT_BOOL: (np.bool_, "bool_val", np.bool_),
    types_pb2.DT_HALF: (np.float16, "half_val", np.int32),
    types_pb2.DT_BFLOAT16: (ml_dtypes.bfloat16, "half_val", np.int32),
    types_pb2.DT_UINT32: (np.uint32, "uint32_val", np.uint32),
    types_pb2.DT_UINT64: (np.uint64, "uint64_val", np.uint64),
    **{dtype: (numpy, "int_val", np.int32) for dtype, numpy in QUANTISED.items()},
}
_DTYPES: dict[Any, int] = {np.dtype(numpy): dtype for dtype, (numpy, _, _) in _FIELDS.items()}
# Fields whose packed wire form is the array's own bytes (little endian): tag = field number << 3 | 2.
_PACKED_TAGS = {"float_val": b"\x2a", "double_val": b"\x32", "scomplex_val": b"\x4a", "dcomplex_val": b"\x62",
                "bool_val": b"\x5a"}  # fmt: skip
_CONTENT_TAG = b"\x22"
# PredictResponse.outputs, and key and value of its entries.
_OUTPUTS_TAG, _KEY_TAG, _VALUE_TAG = b"\x0a", b"\x0a", b"\x12"

MAX_DIMS = 64  # numpy's limit; TensorFlow's is 254, but its ops stop at 8 or so
MAX_FILLED_BYTES = 256 << 20
"""A typed field may hold fewer values than the shape says; the last is repeated. A few bytes could claim
terabytes that way, so what is filled up is bounded (TF Serving tries to allocate it)."""


def _varint(value: int) -> bytes:
    """A length as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_shape(tensor: Any) -> tuple[int, ...] | None:
    """The TensorProto's shape, or None when it is unknown, negative, or has more than 64 dimensions or
    2**63 elements."""
    shape = tensor.tensor_shape
    dims = tuple([dim.size for dim in shape.dim])
    if shape.unknown_rank or len(dims) > MAX_DIMS or min(dims, default=0) < 0 or math.prod(dims) >= 1 << 63:
        return None
    return dims


def _from_content(content: bytes, dims: tuple[int, ...], numpy: Any) -> NDArray[Any] | None:
    """`tensor_content` as an array; None when its length does not fit the shape."""
    if numpy is object:
        return None  # length-prefixed strings: only TensorFlow's own writers make them, never a client
    if math.prod(dims) * np.dtype(numpy).itemsize != len(content):
        return None
    return np.frombuffer(content, numpy).reshape(dims)


def _from_field(tensor: Any, dims: tuple[int, ...], dtype: int) -> NDArray[Any] | None:
    """The typed field as an array: too many values are cut, too few are filled up with the last (or zero)."""
    numpy, name, value_dtype = _FIELDS[dtype]
    count = math.prod(dims)
    flat = np.array(list(getattr(tensor, name)), value_dtype)
    if name == "half_val":
        flat = flat.astype(np.uint16).view(numpy)
    elif name.endswith("complex_val"):
        flat = flat[: len(flat) // 2 * 2].view(numpy)
    elif value_dtype is not numpy:
        flat = flat.astype(numpy)  # wraps, as the C++ cast does
    if len(flat) < count:
        item_bytes = 32 if value_dtype is object else flat.itemsize  # a pointer and a tstring
        if count * item_bytes > MAX_FILLED_BYTES:
            return None
        last = flat[-1] if len(flat) else (b"" if value_dtype is object else flat.dtype.type(0))
        flat = np.concatenate([flat, np.full(count - len(flat), last, flat.dtype)])
    return flat[:count].reshape(dims)


def decode(tensor: Any) -> NDArray[Any] | None:
    """A TensorProto as a numpy array (strings: dtype object, of bytes); None when it is not valid."""
    dims = parse_shape(tensor)
    if dims is None or tensor.dtype not in _FIELDS:
        return None
    numpy = _FIELDS[tensor.dtype][0]
    if 0 in dims:
        try:
            return np.empty(dims, numpy)
        except ValueError:  # numpy counts the other dimensions, which TensorFlow does not
            return None
    if content := tensor.tensor_content:  # looked at once: each look copies it
        return _from_content(content, dims, numpy)
    return _from_field(tensor, dims, tensor.dtype)


def dtype_of(array: NDArray[Any]) -> int:
    """The DataType of an array that TensorFlow gave; raises ServingError when its values are no data: a handle."""
    return _data_type(array.dtype)


def _data_type(dtype: np.dtype[Any]) -> int:
    try:
        return _DTYPES[dtype]
    except KeyError:
        raise ServingError(Code.UNIMPLEMENTED, f"Outputs of the type {dtype} cannot be answered.") from None


def encode(outputs: Mapping[str, NDArray[Any]], *, as_content: bool = False) -> list[bytes]:
    """A PredictResponse's `outputs` in wire form, in parts to be joined.

    Arrays of any rank (strings: dtype object, of bytes) become typed fields, or with `as_content` tensor_content
    (strings stay in string_val).
    """
    parts: list[bytes] = []
    for alias, array in outputs.items():
        head = _head(alias, array.dtype, array.shape, as_content)
        parts += (head, array.tobytes()) if head else (_message(alias, array),)
    return parts


@functools.lru_cache(maxsize=1024)
def _head(alias: str, dtype: np.dtype[Any], shape: tuple[int, ...], as_content: bool) -> bytes:
    """All of an output that stands before its array's own bytes; empty when those are not in the wire form."""
    number, key = _data_type(dtype), alias.encode()
    tag = _CONTENT_TAG if as_content and not dtype.hasobject else _PACKED_TAGS.get(_FIELDS[number][1])
    if tag is None:
        return b""
    size = math.prod(shape) * dtype.itemsize
    tensor = _without_values(number, shape) + tag + _varint(size)
    entry = _KEY_TAG + _varint(len(key)) + key + _VALUE_TAG + _varint(len(tensor) + size) + tensor
    return _OUTPUTS_TAG + _varint(len(entry) + size) + entry


def _message(alias: str, array: NDArray[Any]) -> bytes:
    """An output by way of protobuf: strings, and numbers that the wire form has as varints."""
    number = dtype_of(array)
    name = _FIELDS[number][1]
    if name == "half_val":
        array = array.view(np.uint16)
    elif array.dtype.names:  # quantised
        array = array.view(array.dtype[0])
    response = PredictResponse()
    tensor = response.outputs[alias]
    tensor.ParseFromString(_without_values(number, array.shape))
    getattr(tensor, name).extend(array.ravel().tolist())
    data: bytes = response.SerializeToString()
    return data


@functools.lru_cache(maxsize=1024)
def _without_values(dtype: int, shape: tuple[int, ...]) -> bytes:
    """A TensorProto of a type and shape without values, in wire form."""
    tensor = TensorProto(dtype=dtype)
    tensor.tensor_shape.SetInParent()  # even for a scalar, as TensorFlow does
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    data: bytes = tensor.SerializeToString()
    return data
