"""TensorProto to numpy and back, as TensorFlow's own `Tensor::FromProto` and `AsProtoField` do it.

Bytes are moved, never looped over: a typed field of fixed width is written in protobuf's packed wire form
(1,200 floats in 0.6 µs, where `float_val.extend(list)` takes 31), and so are the messages around it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

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
}
_DTYPES: dict[Any, int] = {np.dtype(numpy): dtype for dtype, (numpy, _, _) in _FIELDS.items()}
# Fields whose packed wire form is the array's own bytes (little endian): tag = field number << 3 | 2.
_PACKED_TAGS = {"float_val": b"\x2a", "double_val": b"\x32", "scomplex_val": b"\x4a", "dcomplex_val": b"\x62",
                "bool_val": b"\x5a"}  # fmt: skip
_CONTENT_TAG = b"\x22"

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


def _from_content(tensor: Any, dims: tuple[int, ...], numpy: Any) -> NDArray[Any] | None:
    """`tensor_content` as an array; None when its length does not fit the shape."""
    content: bytes = tensor.tensor_content
    if numpy is object:
        return None  # length-prefixed strings: only TensorFlow's own writers make them, never a client
    if math.prod(dims) * np.dtype(numpy).itemsize != len(content):
        return None
    return np.frombuffer(content, numpy).reshape(dims)


def _from_field(tensor: Any, dims: tuple[int, ...], dtype: int) -> NDArray[Any] | None:
    """The typed field as an array: too many values are cut, too few are filled up with the last (or zero)."""
    numpy, name, value_dtype = _FIELDS[dtype]
    count = math.prod(dims)
    values = getattr(tensor, name)
    if value_dtype is object:
        flat = np.empty(len(values), object)
        flat[:] = values
    else:
        flat = np.array(values, value_dtype)
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
    if tensor.tensor_content:
        return _from_content(tensor, dims, numpy)
    return _from_field(tensor, dims, tensor.dtype)


def dtype_of(array: NDArray[Any]) -> int:
    """The DataType of an array that TensorFlow gave."""
    return _DTYPES[array.dtype]


@functools.lru_cache(maxsize=1024)
def _head(dtype: int, shape: tuple[int, ...]) -> bytes:
    """A TensorProto of a type and shape without values, in wire form."""
    tensor = TensorProto(dtype=dtype)
    tensor.tensor_shape.SetInParent()  # even for a scalar, as TensorFlow does
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    head: bytes = tensor.SerializeToString()
    return head


def encode(array: NDArray[Any], *, as_content: bool = False) -> bytes:
    """`array` (any rank; strings: dtype object, of bytes) as a TensorProto in wire form.

    As typed fields, or with `as_content` as tensor_content (strings stay in string_val).
    """
    dtype = dtype_of(array)
    head = _head(dtype, array.shape)
    name = _FIELDS[dtype][1]
    if array.dtype == object:
        values = TensorProto(string_val=array.ravel().tolist())
    elif as_content:
        return head + field(_CONTENT_TAG, array.tobytes())
    elif name in _PACKED_TAGS:
        return head + field(_PACKED_TAGS[name], array.tobytes())
    elif name == "half_val":
        values = TensorProto(half_val=array.view(np.uint16).ravel().tolist())
    else:
        values = TensorProto(**{name: array.ravel().tolist()})
    return head + values.SerializeToString()  # type: ignore[no-any-return]


def field(tag: bytes, data: bytes) -> bytes:
    """A field of bytes, of packed numbers or of a message, as protobuf writes it."""
    return tag + _varint(len(data)) + data
