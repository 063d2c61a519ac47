"""Tensors of every kind through a server: gRPC in typed fields and as bytes, and what REST makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conftest import Server
from tests.serving.test_grpc import predict, request

DTYPES = {
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "uint16": np.uint16,
    "int64": np.int64,
    "uint64": np.uint64,
    "bool": np.bool_,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "string": object,
    "qint8": tf.qint8.as_numpy_dtype,
    "quint16": tf.quint16.as_numpy_dtype,
    "qint32": tf.qint32.as_numpy_dtype,
}
VALUES = [[1, 0], [0, 1]]


class Echo(tf.Module):  # type: ignore[misc]
    """One signature for each dtype, of unknown rank, and one with ragged rows inside."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="lines")])  # type: ignore[untyped-decorator]
    def words(self, lines: tf.Tensor) -> dict[str, tf.Tensor]:
        ragged = tf.strings.split(lines)
        return {"words": ragged.flat_values, "row_splits": ragged.row_splits, "padded": ragged.to_tensor()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def quantised(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(x, tf.qint8)}


@pytest.fixture(scope="module")
def echo(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    base = tmp_path_factory.mktemp("types")
    module = Echo()
    signatures = {"words": module.words, "quantised": module.quantised}
    for name, numpy in DTYPES.items():
        dtype = tf.string if numpy is object else tf.dtypes.as_dtype(numpy)
        function = tf.function(
            lambda x: {"y": tf.identity(x)}, input_signature=[tf.TensorSpec(None, dtype, name="x")]
        )
        signatures[name] = function.get_concrete_function()
    tf.saved_model.save(module, str(base / "1"), signatures=signatures)
    return start("--model_name=types", f"--model_base_path={base}")


def values(dtype: Any) -> Any:
    if dtype is object:
        return np.array([[b"a\0", b""], [b"\xff", b"d"]], object)
    return np.array(VALUES).astype(dtype)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (4,), (1, 4, 1), (0, 3), ()])
def test_grpc(echo: Server, name: str, shape: tuple[int, ...]) -> None:
    array = values(DTYPES[name])
    array = (
        array.ravel()[:1].reshape(()) if shape == () else array.ravel()[: int(np.prod(shape))].reshape(shape)
    )
    answer = predict(echo, request("types", name, x=tf.make_tensor_proto(array))).outputs["y"]
    assert not answer.tensor_content
    found = tf.make_ndarray(answer)
    assert found.shape == shape
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("name", ["float32", "float64", "int8", "int64", "uint64", "bool"])
def test_rest(echo: Server, name: str) -> None:
    rows = [[bool(value) for value in row] for row in VALUES] if name == "bool" else VALUES
    body = json.dumps({"signature_name": name, "inputs": rows})
    status, text = echo.http("POST", "/v1/models/types:predict", body)
    assert (status, json.loads(text)["outputs"]) == (200, rows)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("half", "half"), ("bfloat16", "bfloat16"), ("complex64", "complex64"), ("uint16", "uint16")],
)
def test_what_json_has_no_form_for(echo: Server, name: str, kind: str) -> None:
    body = json.dumps({"signature_name": name, "inputs": [1]})
    status, text = echo.error("POST", "/v1/models/types:predict", body)
    assert status == 501
    assert text.endswith(f"to type: {kind}")


def test_an_output_that_json_has_no_form_for(echo: Server) -> None:
    body = json.dumps({"signature_name": "quantised", "inputs": [1.0]})
    text = "Failed to write JSON value for tensor type: qint8"
    assert echo.error("POST", "/v1/models/types:predict", body) == (400, text)


def test_ragged_rows(echo: Server) -> None:
    message = request("types", "words", lines=np.array([b"a b", b"", b"c"], object))
    outputs = predict(echo, message).outputs
    assert list(outputs["words"].string_val) == [b"a", b"b", b"c"]
    assert list(outputs["row_splits"].int64_val) == [0, 2, 2, 3]
    assert tf.make_ndarray(outputs["padded"]).shape == (3, 2)


def test_an_asset_moves_with_its_model(server: Server, model_dir: Path) -> None:
    """TF1: the table is filled from the file in assets/, wherever the model lies now."""
    assert (model_dir / "tf1" / "00000123" / "assets" / "names.txt").exists()
    (model_dir / "tf1" / "names.txt").unlink(missing_ok=True)
    answer = predict(server, request("tf1", ids=np.array([1, 7], np.int64))).outputs["names"]
    assert list(answer.string_val) == [b"dog", b"none"]
