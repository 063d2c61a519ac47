from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving import rest_json, rest_tensor, rest_text
from serving.errors import ServingError

FLOAT = types_pb2.DT_FLOAT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (2.5, "2.5"),
        (1 / 3, "0.333333343"),
        (123456.0, "123456.0"),
        (1234567.0, "1234567.0"),
        (9000000.0, "9e+06"),
        (0.00003, "3e-05"),
        (3.4028235e38, "3.40282347e+38"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (-float("inf"), "-Infinity"),
    ],
)
def test_floats_to_the_digit(value: float, text: str) -> None:
    with np.errstate(all="ignore"):
        assert rest_text.decimals(np.array([value], np.float32)) == [text]


def test_doubles_to_the_digit() -> None:
    assert rest_text.decimals(np.array([0.1, 1 / 3, 1e300])) == ["0.1", "0.33333333333333331", "1e+300"]


def test_row_layout_of_several_outputs() -> None:
    results = {"b": np.array([[1, 2], [3, 4]], np.int32), "a": np.array([True, False])}
    assert rest_text.predictions(results, "row").decode() == (
        '{\n    "predictions": [\n        {\n            "a": true,\n            "b": [1, 2]\n        },\n'
        '        {\n            "a": false,\n            "b": [3, 4]\n        }\n    ]\n}'
    )


def test_column_layout_of_a_matrix() -> None:
    text = rest_text.predictions({"a": np.array([[1.5], [2]], np.float32)}, "columnar").decode()
    assert text == (
        '{\n    "outputs": [\n        [\n            1.5\n        ],\n        [\n            2.0\n        ]\n    ]\n}'
    )


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ({"a": np.float32(1)}, "Tensor name: a has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"a": np.zeros((0, 2))}, "Tensor name: a has invalid batch size: 0"),
        ({"a": np.zeros(1, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ({}, "Cannot convert empty tensor map to JSON"),
    ],
)
def test_outputs_that_rows_cannot_hold(results: dict[str, Any], text: str) -> None:
    with pytest.raises(ServingError) as caught:
        rest_text.predictions({name: np.asarray(array) for name, array in results.items()}, "row")
    assert caught.value.message == text


def test_bytes_that_are_no_utf8_stay_bytes() -> None:
    array: NDArray[Any] = np.array([b'\xff"'], object)
    assert b'"\xff\\""' in rest_text.predictions({"s": array}, "row")


def infos(**dtypes: int) -> dict[str, Any]:
    return {name: TensorInfo(dtype=dtype) for name, dtype in dtypes.items()}


def error_of(document: Any, **dtypes: int) -> str:
    with pytest.raises(ServingError) as caught:
        rest_json.parse_inputs(document, infos(**dtypes))
    return caught.value.message


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (types_pb2.DT_FLOAT, [[1, 2.5], [-3, 1e38]]),
        (types_pb2.DT_DOUBLE, [1e300, 2**53 - 1]),
        (types_pb2.DT_INT8, [-128, 127]),
        (types_pb2.DT_INT32, [[[2**31 - 1]]]),
        (types_pb2.DT_INT64, 2**63 - 1),
        (types_pb2.DT_UINT64, [2**64 - 1]),
        (types_pb2.DT_BOOL, [True, False]),
        (types_pb2.DT_FLOAT, []),
        (types_pb2.DT_FLOAT, [[], []]),
    ],
)
def test_values_come_through(dtype: int, value: Any) -> None:
    array = rest_tensor.parse_tensor(value, dtype)
    assert array.shape == np.array(value).shape
    np.testing.assert_array_equal(array, np.array(value).astype(array.dtype))


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        (FLOAT, True, "JSON Value: true Type: True is not of expected type: float"),
        (FLOAT, None, "JSON Value: null Type: Null is not of expected type: float"),
        (FLOAT, {"a": 1}, "is not of expected type: float"),
        (FLOAT, 2**24, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (FLOAT, [1.0, 1e39], "to float without loss of precision."),
        (FLOAT, [1, 2**24], "to float without loss of precision."),
        (FLOAT, [1.0, "a"], 'JSON Value: "a" Type: String is not of expected type: float'),
        (FLOAT, [[1], [1, 2]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (FLOAT, [[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        (FLOAT, [1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        (types_pb2.DT_INT32, 1.5, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        (types_pb2.DT_INT32, [2**31], "is not of expected type: int32"),
        (types_pb2.DT_UINT32, -1, "is not of expected type: uint32"),
        (types_pb2.DT_STRING, 1, "is not of expected type: string"),
        (types_pb2.DT_STRING, {"b64": 1}, "not formatted correctly for base64 data"),
        (types_pb2.DT_STRING, {"b64": "*"}, "Unable to base64 decode"),
        (types_pb2.DT_STRING, "\ud800", "The surrogate pair in string is invalid."),
        (types_pb2.DT_COMPLEX64, 1, "Conversion of JSON Value: 1 to type: complex64"),
    ],
)
def test_values_that_do_not_fit(dtype: int, value: Any, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        rest_tensor.parse_tensor(value, dtype)
    assert text in caught.value.message


def test_base64_with_line_breaks_and_without_padding() -> None:
    assert rest_tensor.parse_tensor({"b64": "eH\n"}, types_pb2.DT_STRING)[()] == b"x"


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist "),
        ({"instances": [1]}, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": 1}}, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"a": 1}]}, "must only have keys: a,b"),
        ({"instances": [{"a": 1, "b": 1, "c": 1}]}, "JSON object: does not have named input: c"),
        ({"instances": [{"a": 1, "b": 1}, 1]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [{"a": 1, "b": 1}, {"a": [1], "b": 1}]}, "Expecting shape [] but got: [1]"),
        ({"instances": [{"a": [1], "b": 1}, {"a": [1, 2], "b": 1}]}, "Expecting tensor size: 1 but got: 2"),
    ],
)
def test_requests_that_do_not_fit_the_signature(document: Any, text: str) -> None:
    assert text in error_of(document, a=FLOAT, b=FLOAT)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{} x", "The document root must not be followed by other values."),
        (b"{a", "Missing a name for object member."),
        (b'{"a" 1', "Missing a colon after a name of object member."),
        (b'{"a": 1 "b"', "Missing a comma or } after an object member."),
        (b'{"a": ["]", 1 2', "Missing a comma or ] after an array element."),
        (b'{"a', "Missing a closing quotation mark in string."),
        (b'{"a": "\\x"}', "Invalid escape character in string."),
        (b"[1]", "Is not object"),
    ],
)
def test_bodies_that_are_no_json_object(body: bytes, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        rest_json.parse_body(body)
    assert text in caught.value.message


def test_nan_and_infinity_are_read() -> None:
    document = rest_json.parse_body(json.dumps({"instances": [float("nan"), float("inf")]}).encode())
    arrays, layout = rest_json.parse_inputs(document, infos(x=FLOAT))
    assert layout == "row"
    assert np.isnan(arrays["x"][0])
    assert arrays["x"][1] == np.inf
