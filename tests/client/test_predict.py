"""PredictRequest and PredictResponse to and from plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client.predict import MAX_DETECTIONS, parse_response, request_bytes
from client.wire import tfserving_pb2 as tfs
from tests.client.fakes import response_of


def test_request_has_one_image_under_the_contracts_name() -> None:
    request = tfs.PredictRequest.FromString(request_bytes("m", "s", b"image"))
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s")
    tensor = request.inputs["image_bytes"]
    assert tensor.dtype == tfs.DT_STRING
    assert [dim.size for dim in tensor.tensor_shape.dim] == [1]
    assert list(tensor.string_val) == [b"image"]


def test_messages_are_tensorflow_servings() -> None:
    apis = pytest.importorskip(
        "tensorflow_serving.apis.predict_pb2", reason="extra `serving` is not installed"
    )
    request = apis.PredictRequest.FromString(request_bytes("m", "s", b"image"))
    assert request.model_spec.name == "m"
    assert list(request.inputs["image_bytes"].string_val) == [b"image"]
    response = apis.PredictResponse.FromString(response_of(3, version=7))
    assert response.model_spec.version.value == 7
    assert parse_response(response.SerializeToString()).model_version == 7


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_only_the_real_rows_are_read(number: int, as_content: bool) -> None:
    got = parse_response(response_of(number, 5, as_content))
    detections = got.detections()
    assert (got.model_name, got.model_version) == ("yolov8", 5)
    assert len(detections) == number
    assert (detections.boxes.shape, detections.boxes.dtype) == ((number, 4), np.dtype(np.float32))
    assert detections.scores.tolist() == pytest.approx([0.9, 0.8, 0.7][:number])
    assert detections.class_ids.tolist() == [number] * number
    assert detections.labels == ("thing",) * number


def test_integers_and_short_typed_fields_as_tensorflow_reads_them() -> None:
    whole = parse_response(
        response_of(2, num_detections=np.array([2], np.int64), detection_classes=np.array([[7, 7]], np.int32))
    )
    assert whole.class_ids == [7, 7]
    response = tfs.PredictResponse.FromString(response_of(2))
    del response.outputs["detection_scores"].float_val[1:]
    del response.outputs["detection_classes"].float_val[:]
    got = parse_response(response.SerializeToString())
    assert got.scores == pytest.approx([0.9, 0.9])
    assert got.class_ids == [0, 0]


def test_without_class_text_the_label_is_the_id() -> None:
    response = tfs.PredictResponse.FromString(response_of(3))
    del response.outputs["detection_classes_as_text"]
    assert parse_response(response.SerializeToString()).labels == ["3", "3", "3"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detection_boxes": None}, "lacks output 'detection_boxes'"),
        ({"num_detections": np.array([11], np.float32)}, "11.0 detections in 10 rows"),
        ({"num_detections": np.array([-1], np.float32)}, "-1.0 detections"),
        ({"num_detections": np.array([np.nan], np.float32)}, "nan detections"),
        ({"detection_boxes": np.zeros((10, 4), np.float32)}, r"expected shape \[1, rows, 4\], got \[10, 4\]"),
        ({"detection_classes": np.full((1, 10), np.nan, np.float32)}, "class ids nan"),
        ({"detection_classes": np.array([[1, np.nan, 1]], np.float32)}, "NaN"),
        ({"detection_classes": np.full((1, 10), -1, np.float32)}, "class ids -1"),
        ({"detection_classes": np.full((1, 10), 1e30, np.float32)}, "class ids 1e\\+30"),
    ],
)
def test_a_bad_answer_is_a_value_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_response(response_of(3, **changes))


def test_a_small_answer_that_claims_millions_of_rows_is_refused_at_once() -> None:
    """Typed fields may be shorter than the shape: the last value would be written millions of times."""
    response = tfs.PredictResponse.FromString(response_of(3))
    response.outputs["num_detections"].float_val[:] = [2e6]
    response.outputs["detection_boxes"].tensor_shape.dim[1].size = 2_000_000
    data = response.SerializeToString()
    with pytest.raises(ValueError, match=r"the model's answer has 2e\+06 detections; expected 10000 at most"):
        parse_response(data)
    response.outputs["num_detections"].float_val[:] = [MAX_DETECTIONS]
    assert len(parse_response(response.SerializeToString()).detections()) == MAX_DETECTIONS


def test_garbage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no PredictResponse"):
        parse_response(b"\xff\xff garbage")
    response = tfs.PredictResponse.FromString(response_of(3, as_content=True))
    response.outputs["detection_scores"].tensor_content = b"\0" * 4
    with pytest.raises(ValueError, match="fewer than the 3 values"):
        parse_response(response.SerializeToString())
