"""REST answers: arrays and messages to the text that TF Serving writes, to the digit and the line break.

Its writer is RapidJSON's PrettyWriter (four spaces; arrays on one line inside `predictions`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.errors import ServingError, invalid
from serving.rest_format import decimals, quoted
from serving.rest_json import Format

_DTYPE_NAMES = {"float16": "half"}


def error(failure: ServingError) -> bytes:
    """The body of an error."""
    return f'{{\n    "error": {quoted(failure.message)}\n}}'.encode("utf-8", "surrogateescape")


def predictions(results: Mapping[str, NDArray[Any]], layout: Format) -> bytes:
    """The body of a Predict answer. Raises ServingError when the outputs do not fit the row format."""
    if not results:
        raise invalid("Cannot convert empty tensor map to JSON")
    text = _rows(results) if layout == "row" else _columns(results)
    return text.encode("utf-8", "surrogateescape")


def _rows(results: Mapping[str, NDArray[Any]]) -> str:
    size = _batch_size(results)
    if not size:
        return '{\n    "predictions": []\n}'
    leaves = {name: _leaves(name, array) for name, array in sorted(results.items())}
    if len(results) == 1:
        ((name, array),) = results.items()
        rows = ", ".join(_nested(leaves[name], array.shape[1:], 2, one_line=True) for _ in range(size))
        return f'{{\n    "predictions": [{rows}\n    ]\n}}'
    items = []
    for _ in range(size):
        fields = [
            f"{' ' * 12}{quoted(name)}: " + _nested(leaves[name], results[name].shape[1:], 3, one_line=True)
            for name in leaves
        ]
        items.append("        {\n" + ",\n".join(fields) + "\n        }")
    return '{\n    "predictions": [\n' + ",\n".join(items) + "\n    ]\n}"


def _batch_size(results: Mapping[str, NDArray[Any]]) -> int:
    """The outputs' common 0th dimension."""
    size = -1
    for name, array in sorted(results.items()):
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, array.shape[0]):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {size}"
            )
        size = array.shape[0]
    return size


def _columns(results: Mapping[str, NDArray[Any]]) -> str:
    if len(results) == 1:
        ((name, array),) = results.items()
        return f'{{\n    "outputs": {_nested(_leaves(name, array), array.shape, 1)}\n}}'
    fields = [
        f"        {quoted(name)}: {_nested(_leaves(name, array), array.shape, 2)}"
        for name, array in sorted(results.items())
    ]
    return '{\n    "outputs": {\n' + ",\n".join(fields) + "\n    }\n}"


def _nested(leaves: Iterator[Any], shape: tuple[int, ...], depth: int, one_line: bool = False) -> str:
    """The next values of `leaves` as nested lists of `shape`, `depth` levels inside the document."""
    if not shape:
        leaf = next(leaves)
        if isinstance(leaf, str):
            return leaf
        end = "\n" + " " * (4 * depth)  # bytes: an object, which is never put on one line
        return f'{{{end}    "b64": "{leaf[0]}"{end}}}'
    if not shape[0]:
        return "[]"
    items = [_nested(leaves, shape[1:], depth + 1, one_line) for _ in range(shape[0])]
    if one_line:
        return "[" + ", ".join(items) + "]"
    end = "\n" + " " * (4 * depth)
    return f"[{end}    " + f",{end}    ".join(items) + f"{end}]"


def _leaves(name: str, array: NDArray[Any]) -> Iterator[Any]:
    """Each value as JSON text in C order; bytes as a 1-tuple with their base64."""
    values = array.ravel()
    if array.dtype == object:
        if name.endswith("_bytes"):
            return iter([(base64.b64encode(value).decode(),) for value in values])
        return iter([quoted(value.decode("utf-8", "surrogateescape")) for value in values])
    if array.dtype == np.bool_:
        return iter(["true" if value else "false" for value in values])
    if array.dtype in (np.float32, np.float64):
        return iter(decimals(values))
    if array.dtype.kind in "iu" and array.dtype != np.uint16:
        return map(str, values.tolist())
    name = (
        array.dtype.names[0] if array.dtype.names else array.dtype.name
    )  # quantised ones are structs of one integer
    kind = _DTYPE_NAMES.get(name, name)
    raise invalid(f"Failed to write JSON value for tensor type: {kind}")


def _proto(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=1,
        ensure_ascii=False,
    )
    return text


def status(response: Any) -> bytes:
    """The body of a status answer, from a GetModelStatusResponse."""
    return (_proto(response) + "\n").encode()


def metadata(response: Any) -> bytes:
    """The body of a metadata answer, from a GetModelMetadataResponse."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, signature_def = _proto(response.model_spec), _proto(signatures)
    text = f'{{\n"model_spec":{spec}\n,\n"metadata": {{"signature_def": {signature_def}\n}}\n}}\n'
    return text.encode()
