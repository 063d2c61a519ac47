from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from serving import tensors
from serving.errors import Code, ServingError

DTYPES = [
    tf.float32, tf.float64, tf.int32, tf.uint8, tf.int16, tf.int8, tf.uint16, tf.complex64, tf.complex128,
    tf.int64, tf.bool, tf.half, tf.bfloat16, tf.uint32, tf.uint64, tf.qint8, tf.quint8, tf.qint16, tf.quint16,
    tf.qint32,
]  # fmt: skip


def proto(dtype: tf.DType, dims: list[int], **values: Any) -> Any:
    message = TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in dims:
        message.tensor_shape.dim.add(size=size)
    return message


def encoded(array: NDArray[Any], *, as_content: bool = False) -> Any:
    """The TensorProto that an output becomes."""
    data = b"".join(tensors.encode({"a": array}, as_content=as_content))
    return PredictResponse.FromString(data).outputs["a"]


def array_of(dtype: tf.DType) -> NDArray[Any]:
    values = np.array([[0, 1, 2], [3, 100, 127]])
    return values.astype(dtype.as_numpy_dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("as_content", [False, True])
def test_round_trip_in_every_dtype(dtype: tf.DType, as_content: bool) -> None:
    array = array_of(dtype)
    message = encoded(array, as_content=as_content)
    assert bool(message.tensor_content) is as_content
    np.testing.assert_array_equal(tf.make_ndarray(message), array)  # TensorFlow reads what we write
    decoded = tensors.decode(message)
    assert decoded is not None
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("dtype", [tf.float32, tf.int8, tf.int64, tf.bool], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_scalars_and_empty_tensors(dtype: tf.DType, shape: tuple[int, ...]) -> None:
    message = encoded(np.ones(shape, dtype.as_numpy_dtype))
    assert message.HasField("tensor_shape")
    decoded = tensors.decode(message)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, np.ones(shape, dtype.as_numpy_dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("size", [1, 31, 32, 5000])  # lengths of one, two and three bytes
def test_the_wire_form_is_what_protobuf_writes(dtype: tf.DType, size: int) -> None:
    array = np.arange(size).astype(dtype.as_numpy_dtype)
    outputs = {"a": array, "ä" * 70: array[:1]}
    response = PredictResponse.FromString(b"".join(tensors.encode(outputs)))
    assert set(response.outputs) == set(outputs)
    assert (
        b"".join(tensors.encode({"a": array}))
        == PredictResponse(outputs={"a": response.outputs["a"]}).SerializeToString()
    )
    for alias, expected in outputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs[alias]), expected)


@pytest.mark.parametrize("as_content", [False, True])
def test_a_handle_is_no_data(as_content: bool) -> None:
    handle = np.zeros(4, np.dtype([("resource", "u1", (1,))]))  # how TensorFlow gives a variable's handle
    with pytest.raises(ServingError) as caught:
        tensors.encode({"a": handle}, as_content=as_content)
    assert caught.value.code == Code.UNIMPLEMENTED


def test_strings_keep_their_bytes() -> None:
    array = np.array([[b"a\0", b""], [b"\xff\0\0", b"x" * 70000]], object)
    message = encoded(array, as_content=True)
    decoded = tensors.decode(message)
    assert decoded is not None
    assert decoded.tolist() == array.tolist()


def test_a_typed_field_is_filled_up_and_cut_as_tensorflow_does() -> None:
    filled = tensors.decode(proto(tf.int32, [2, 2], int_val=[7, 8]))
    assert filled is not None
    assert filled.tolist() == [[7, 8], [8, 8]]
    zeros = tensors.decode(proto(tf.float32, [3]))
    assert zeros is not None
    assert zeros.tolist() == [0, 0, 0]
    cut = tensors.decode(proto(tf.float32, [1], float_val=[1, 2, 3]))
    assert cut is not None
    assert cut.tolist() == [1]
    wrapped = tensors.decode(proto(tf.int8, [1], int_val=[300]))
    assert wrapped is not None
    assert wrapped.tolist() == [44]
    empty = tensors.decode(proto(tf.string, [2]))
    assert empty is not None
    assert empty.tolist() == [b"", b""]


@pytest.mark.parametrize(
    "message",
    [
        proto(tf.float32, [-1], float_val=[1]),
        proto(tf.float32, [1 << 40, 1 << 40], float_val=[1]),
        proto(tf.float32, [1 << 62], float_val=[1]),
        proto(tf.string, [1 << 24], string_val=[b"x"]),
        proto(tf.float32, [3], tensor_content=b"1234"),
        proto(tf.float32, [1 << 40], tensor_content=b"1234"),
        proto(tf.float32, [1] * 65, float_val=[1]),
        proto(tf.string, [1], tensor_content=b"\1a"),
        proto(tf.resource, [1]),
        proto(tf.variant, [1]),
        TensorProto(dtype=99),
        TensorProto(),
    ],
    ids=lambda message: str(message)[:40].replace("\n", " "),
)
def test_what_is_no_tensor_is_refused_without_a_big_allocation(message: Any) -> None:
    assert tensors.decode(message) is None


def test_unknown_rank_is_refused() -> None:
    message = proto(tf.float32, [], float_val=[1])
    message.tensor_shape.unknown_rank = True
    assert tensors.decode(message) is None
