from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import rest_examples, rest_format, rest_json, rest_tensor, rest_text
from serving.errors import ServingError, invalid

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
        (999999.0, "999999.0"),
        (555557.5, "555557.5"),
        (0.0003, "0.0003"),
        (0.00003, "3e-05"),
        (3.4028235e38, "3.40282347e+38"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (-float("inf"), "-Infinity"),
    ],
)
def test_floats_to_the_digit(value: float, text: str) -> None:
    with np.errstate(all="ignore"):
        assert rest_format.decimals(np.array([value], np.float32)) == [text]


def test_doubles_to_the_digit() -> None:
    assert rest_format.decimals(np.array([0.1, 1 / 3, 1e300])) == ["0.1", "0.33333333333333331", "1e+300"]


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
        (
            {"a": np.zeros((0, 2)), "b": np.zeros((1, 2))},
            "Tensor name: b has inconsistent batch size: 1 expecting: 0",
        ),
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
        (FLOAT, [1, 2.0, 3, 4, 5.003, 0.007, 0.0]),
        (types_pb2.DT_DOUBLE, [1.0, 2, 3, 4, 0.662, 0, 0.0]),
        (FLOAT, 2**24 - 1),
        (FLOAT, float(2**24)),
        (FLOAT, 10**20),  # fits no integer of RapidJSON's: a double
        (types_pb2.DT_DOUBLE, -(2**63) - 1),
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
        (
            FLOAT,
            1.7976931348623157e308,
            "Cannot convert JSON value: 1.7976931348623157e+308 to float without loss",
        ),
        (FLOAT, [123456789.0, "a"], 'JSON Value: "a"'),
        (FLOAT, 1e39, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (FLOAT, -(2**24), "Cannot convert JSON value: -16777216 to float without loss of precision."),
        (FLOAT, 10**39, "to float without loss of precision."),
        (
            types_pb2.DT_DOUBLE,
            9007199254740993,
            "Cannot convert JSON value: 9007199254740993 to double without",
        ),
        (types_pb2.DT_DOUBLE, 10**400, "JSON Parse error: Number too big to be stored in double."),
        (FLOAT, [10**400, 1], "JSON Parse error: Number too big to be stored in double."),
        (FLOAT, [1.5, -(10**400)], "JSON Parse error: Number too big to be stored in double."),
        (types_pb2.DT_INT64, [10**400], "is not of expected type: int64"),
        (types_pb2.DT_DOUBLE, [1e400], "JSON Parse error: Number too big to be stored in double."),
        (
            types_pb2.DT_INT32,
            123456789.0,
            "JSON Value: 123456792.0 Type: Number is not of expected type: int32",
        ),
        (types_pb2.DT_INT32, 1.0, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (types_pb2.DT_INT64, 2**63, "is not of expected type: int64"),
        (types_pb2.DT_UINT64, 2**64, "is not of expected type: uint64"),
        (types_pb2.DT_BOOL, 1, "is not of expected type: bool"),
        (types_pb2.DT_HALF, 1, "Conversion of JSON Value: 1 to type: half"),
        (FLOAT, [[], [1]], "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
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
        (types_pb2.DT_STRING, {"b64": "eA="}, "Unable to base64 decode"),
        (types_pb2.DT_STRING, {"b64": "eA==="}, "Unable to base64 decode"),
        (types_pb2.DT_STRING, {"b64": "eA==eA=="}, "Unable to base64 decode"),
        (types_pb2.DT_STRING, {"b64": "eHh4e"}, "Unable to base64 decode"),
        (types_pb2.DT_STRING, {"b64": "eA==", "x": 1}, "not formatted correctly for base64 data"),
        (types_pb2.DT_STRING, "\ud800", "The surrogate pair in string is invalid."),
        (types_pb2.DT_COMPLEX64, 1, "Conversion of JSON Value: 1 to type: complex64"),
    ],
)
def test_values_that_do_not_fit(dtype: int, value: Any, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        rest_tensor.parse_tensor(value, dtype)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("text", "data"),
    [("eA==", b"x"), ("eA", b"x"), ("eH\n", b"x"), ("e A = =", b"x"), ("eA..", b"x"), ("", b"")],
)
def test_base64_with_white_space_and_without_padding(text: str, data: bytes) -> None:
    assert rest_tensor.parse_tensor({"b64": text}, types_pb2.DT_STRING)[()] == data


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist "),
        ({"instances": [1]}, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": 1}}, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"a": 1}]}, "keys must be equal to: a,b"),
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


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"inputs": [1.0, NaN, -NaN]}', [1, np.nan, np.nan]),
        (b'{"inputs": [Infinity, -Infinity, Inf, -Inf]}', [np.inf, -np.inf, np.inf, -np.inf]),
        (b'{"x": "Inf, \\"-NaN", "inputs": [Inf]}', [np.inf]),
        (b'{"inputs": [1], "inputs": [2]}', [1]),
        (b'\xef\xbb\xbf{"inputs": [-0]}', [0]),
    ],
)
def test_json_as_rapidjson_reads_it(body: bytes, values: list[float]) -> None:
    document = rest_json.parse_body(body)
    arrays, layout = rest_json.parse_inputs(document, infos(x=FLOAT))
    assert layout == "columnar"
    np.testing.assert_array_equal(arrays["x"], np.array(values, np.float32))
    assert document.get("x", 'Inf, "-NaN') == 'Inf, "-NaN'


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 400])
def test_a_number_too_big_is_no_infinity(number: bytes) -> None:
    document = rest_json.parse_body(b'{"instances": [' + number + b"]}")
    assert "Number too big to be stored in double." in error_of(document, x=FLOAT)


INT, STRING = types_pb2.DT_INT32, types_pb2.DT_STRING
HELLO, WORLD = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}


@pytest.mark.parametrize(
    ("document", "dtypes", "expected"),
    [
        ({"instances": [[1, 2], [3, 4], [5, 6]]}, {"x": INT}, {"x": [[1, 2], [3, 4], [5, 6]]}),
        ({"instances": [HELLO, WORLD]}, {"x": STRING}, {"x": [b"hello", b"world"]}),
        ({"instances": [[HELLO], [WORLD]]}, {"x": STRING}, {"x": [[b"hello"], [b"world"]]}),
        ({"instances": [{"x": [[HELLO], [WORLD]]}]}, {"x": STRING}, {"x": [[[b"hello"], [b"world"]]]}),
        ({"instances": [{"b64": HELLO}]}, {"b64": STRING}, {"b64": [b"hello"]}),
        (
            {"instances": [{"i": [[1, 2]], "s": ["foo", "bar"]}, {"s": ["baz", "bat"], "i": [[7, 8]]}]},
            {"i": INT, "s": STRING},
            {"i": [[[1, 2]], [[7, 8]]], "s": [[b"foo", b"bar"], [b"baz", b"bat"]]},
        ),
        ({"inputs": {"x": [[[1, 2], [3, 4]]]}}, {"x": INT}, {"x": [[[1, 2], [3, 4]]]}),
        ({"inputs": [[[1, 2], [3, 4]]]}, {"x": INT}, {"x": [[[1, 2], [3, 4]]]}),
        ({"inputs": 5}, {"x": INT}, {"x": 5}),
        ({"inputs": HELLO}, {"x": STRING}, {"x": b"hello"}),
        (
            {"inputs": {"i": [[1]], "s": ["foo", "bar"], "b": HELLO, "more": None}},
            {"i": INT, "s": STRING, "b": STRING},
            {"i": [[1]], "s": [b"foo", b"bar"], "b": b"hello"},
        ),
    ],
)
def test_tensors_of_any_rank(document: Any, dtypes: dict[str, int], expected: dict[str, Any]) -> None:
    """The shape is what the JSON shows, whatever the signature says; rows get one dimension more, the first."""
    arrays, _ = rest_json.parse_inputs(document, infos(**dtypes))
    assert {name: array.tolist() for name, array in arrays.items()} == expected


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            [[1, 2], [3, 4], [5, 6, 7]],
            "2 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3",
        ),
        (
            [[1, 2], [3, 4], [[5, 6]]],
            "2 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
        ),
        ([1, [1]], "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]"),
        ([[1, 2], ["a", "b"]], "is not of expected type: int32"),
        ([[1], {"x": 1}], "Expecting value/list but got object at item 1 of input list"),
        ([{"x": 1}, [1]], "Expecting object but got list at item 1 of input list"),
        (
            [{"x": [[1, 2], 3]}],
            "0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 3 found at incorrect level",
        ),
        ([{}], "0 of 'instances' list. JSON object: {} keys must be equal to: x"),
        (
            [{"y": 1}],
            "0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y",
        ),
    ],
)
def test_rows_that_do_not_fit_each_other(rows: Any, text: str) -> None:
    assert text in error_of({"instances": rows}, x=INT)


def test_rows_of_scalars_matrices_and_nothing() -> None:
    def written(*arrays: Any) -> Any:
        return json.loads(rest_text.predictions({f"t{i}": np.array(a) for i, a in enumerate(arrays)}, "row"))

    assert written([1, 2]) == {"predictions": [1, 2]}
    assert written([[[1, 2]], [[7, 8]]]) == {"predictions": [[[1, 2]], [[7, 8]]]}
    assert written([8.0, 9.0], [[1], [2]]) == {
        "predictions": [{"t0": 8.0, "t1": [1]}, {"t0": 9.0, "t1": [2]}]
    }
    assert rest_text.predictions({"a": np.zeros((0, 2))}, "row") == b'{\n    "predictions": []\n}'
    assert rest_text.predictions({"a": np.zeros((0, 1, 2)), "b": np.zeros((0, 3))}, "row") == (
        b'{\n    "predictions": []\n}'
    )


def test_control_characters_are_escaped_with_capital_digits() -> None:
    text = "\x1b\\u001b\x0e\n\x7f"
    assert rest_format.quoted(text) == '"\\u001B\\\\u001b\\u000E\\n\x7f"'
    assert json.loads(rest_format.quoted(text)) == text


def test_an_error_is_an_object_on_three_lines() -> None:
    assert rest_text.error(invalid('Bad key: "key"')) == b'{\n    "error": "Bad key: \\"key\\""\n}'


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"signature_name": ["hello"], "examples": [{}]}, "'signature_name' key must be a string value."),
        ({"context": [{"names": []}], "examples": []}, "Example must be JSON object but got JSON Array"),
        ({"examples": {"names": []}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": [[{}]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"names": [10, None]}]}, "Feature: names has element with unexpected JSON type: Null"),
        ({"examples": [{"names": [10, 10.0]}]}, "in feature: names expecting type: int64"),
        (
            {"examples": [{"names": [10, {"test": 10}]}]},
            "names has element with unexpected JSON type: Object",
        ),
        ({"examples": [{"names": [[10], 20]}]}, "names has element with unexpected JSON type: Array"),
        ({"examples": [{"names": [20, 18446744073709551603]}]}, "Only int64 is supported."),
        ({"examples": [{"names": 1.7976931348623157e308}]}, "to float without loss of precision."),
        ({"examples": [{"names": 10**400}]}, "Number too big to be stored in double."),
    ],
)
def test_examples_that_are_none(document: Any, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        rest_examples.fill_request(document, classification_pb2.ClassificationRequest())
    assert text in caught.value.message


def test_examples_with_context_and_every_kind() -> None:
    request = regression_pb2.RegressionRequest()
    document = rest_json.parse_body(
        b'{"signature_name": "s", "context": {"query": "pizza", "location": ["sfo"]}, "examples": ['
        b'{"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, NaN, Infinity], "age": 20},'
        b'{"mix": [1, true, false], "none": []}]}'
    )
    rest_examples.fill_request(document, request)
    first, second = (row.features.feature for row in request.input.example_list_with_context.examples)
    context = request.input.example_list_with_context.context.features.feature
    assert request.model_spec.signature_name == "s"
    assert [context[name].bytes_list.value[0] for name in ("query", "location")] == [b"pizza", b"sfo"]
    assert first["names"].bytes_list.value == [b"foo", b"hello"]
    np.testing.assert_array_equal(first["ratings"].float_list.value, [8, np.nan, np.inf])
    assert first["age"].int64_list.value == [20]
    assert second["mix"].int64_list.value == [1, 1, 0]
    assert second["none"].WhichOneof("kind") is None
