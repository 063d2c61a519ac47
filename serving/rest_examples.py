"""REST classify and regress: JSON to tf.train.Examples, results to JSON, as TF Serving writes both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from serving.errors import invalid
from serving.rest_format import decimals, quoted
from serving.rest_json import signature_name
from serving.rest_tensor import decimal, is_bytes, json_type, parse_bytes, shown


def fill_request(document: Mapping[str, Any], request: Any) -> None:
    """Fill a ClassificationRequest or RegressionRequest (its model set) from JSON; raises ServingError."""
    name = signature_name(document)
    if name:
        request.model_spec.signature_name = name
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        target.context.CopyFrom(_example(document["context"]))
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    rows = document["examples"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for row in rows:
        target.examples.add().CopyFrom(_example(row))


def _example(value: Any) -> Any:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = feature_pb2.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)
        example.features.feature[name].CopyFrom(feature)
    return example


def _add(value: Any, name: str, feature: Any) -> None:
    """Append one JSON value to a Feature, whose kind the first one sets."""
    kind: str
    if isinstance(value, bool):
        kind, value = "int64", int(value)
    elif isinstance(value, int) and abs(value) < 1 << 64:
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind = "int64" if value >= -(1 << 63) else "float"  # RapidJSON reads what fits no integer as a double
    elif isinstance(value, int | float):
        kind = "float"
    elif isinstance(value, str) or is_bytes(value):
        kind, value = "bytes", parse_bytes(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    found = feature.WhichOneof("kind")
    if found not in (None, f"{kind}_list"):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: {found.removesuffix('_list')}"
        )
    if kind == "float":
        value = decimal(value, np.float32)
    getattr(feature, f"{kind}_list").value.append(value)


def classifications(result: Any) -> bytes:
    """The body of a classify answer, from a ClassificationResult."""
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for row in result.classifications:
        scores = decimals(np.array([one.score for one in row.classes], np.float32))
        pairs = [f"[{quoted(one.label)}, {score}]" for one, score in zip(row.classes, scores, strict=True)]
        rows.append("[" + ", ".join(pairs) + "]")
    return ('{\n    "results": [' + ", ".join(rows) + "\n    ]\n}").encode()


def regressions(result: Any) -> bytes:
    """The body of a regress answer, from a RegressionResult."""
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    values = decimals(np.array([one.value for one in result.regressions], np.float32))
    return ('{\n    "results": [' + ", ".join(values) + "]\n}").encode()
