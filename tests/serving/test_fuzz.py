"""Random requests: whatever comes, an answer or an error that names its reason, never a bug's.

SIGHTLINE_FUZZ_SECONDS sets how long (`make fuzz`: ten minutes); without it a short run.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

from serving.errors import Code, ServingError
from serving.metrics import Metrics
from serving.predict import Predictor
from serving.rest import RestApp, RestOptions
from serving.rest_body import gunzip
from serving.servicer import Servicer
from tests.serving.conftest import Server

SECONDS = float(os.environ.get("SIGHTLINE_FUZZ_SECONDS", "0"))
TARGETS = 4
EXAMPLES = 60 if not SECONDS else 500
MODELS = st.sampled_from(["affine", "strings", "counter", "tf1", "none", ""])
SIGNATURES = st.sampled_from(["", "serving_default", "add", "heights", "none"])
ALIASES = st.sampled_from(["x", "s", "a", "b", "ids", "jpeg", "step", "none"])
SIZES = st.one_of(
    st.integers(0, 4),
    st.sampled_from([-1, -(1 << 63), 1 << 31, 1 << 33, 1 << 40, (1 << 62) + 1, (1 << 63) - 1]),
)


def run(target: Callable[[], None]) -> None:
    """Call a @given function once, or with new seeds for its share of SIGHTLINE_FUZZ_SECONDS."""
    end = time.monotonic() + SECONDS / TARGETS
    while True:
        seed(random.randrange(1 << 32))(target)()
        if time.monotonic() >= end:
            return


def fuzzed(*strategies: Any) -> Callable[[Any], Any]:
    """A given-test without deadline or database."""

    def wrap(function: Any) -> Any:
        limits: Any = settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        given_test: Any = given(*strategies)
        return limits(given_test(function))

    return wrap


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A TensorProto of any type, whose shape and content need not agree."""
    tensor = predict_pb2.PredictRequest().inputs["x"]
    tensor.dtype = draw(st.one_of(st.sampled_from([1, 3, 7, 9]), st.integers(0, 30)))
    for size in draw(st.lists(SIZES, max_size=4)):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_shape.unknown_rank = draw(st.booleans()) and draw(st.booleans())
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=5)))
    tensor.int_val.extend(draw(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=5)))
    tensor.int64_val.extend(draw(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=5)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=20), max_size=5)))
    tensor.half_val.extend(draw(st.lists(st.integers(0, 70000), max_size=3)))
    tensor.tensor_content = draw(st.one_of(st.just(b""), st.binary(max_size=40)))
    return tensor


@st.composite
def predicts(draw: st.DrawFn) -> Any:
    """A PredictRequest."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = draw(MODELS), draw(SIGNATURES)
    for alias in draw(st.lists(ALIASES, max_size=3)):
        request.inputs[alias].CopyFrom(draw(tensors()))
    request.output_filter.extend(draw(st.lists(st.sampled_from(["y", "sum", "s", "none"]), max_size=2)))
    return request


@st.composite
def corrupted(draw: st.DrawFn, message: st.SearchStrategy[Any]) -> bytes:
    """A message's bytes with some changed, cut or added."""
    data = bytearray(draw(message).SerializeToString())
    for position, value in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)):
        if position < len(data):
            data[position] = value
    end = draw(st.integers(0, len(data)))
    return bytes(data[:end] if draw(st.booleans()) else data) + draw(st.binary(max_size=8))


class Context:
    """What a method needs of a gRPC call."""

    def time_remaining(self) -> float:
        return 10.0

    def is_active(self) -> bool:
        return True

    def set_trailing_metadata(self, _metadata: object) -> None: ...


def allowed(error: ServingError) -> None:
    """An error of a client's making; INTERNAL only for bytes that are no message."""
    assert error.code not in (Code.UNKNOWN, Code.DATA_LOSS), error
    assert error.code != Code.INTERNAL or "is not a valid" in error.message, error
    assert error.message


@pytest.fixture(scope="module")
def parts(server: Server) -> tuple[Servicer, RestApp]:
    metrics = Metrics()
    predictor = Predictor(server.manager, metrics)
    return Servicer(predictor, metrics), RestApp(RestOptions(1, 10.0), predictor, metrics)


@pytest.mark.timeout(0 if SECONDS else 120)
def test_predict(parts: tuple[Servicer, RestApp]) -> None:
    @fuzzed(st.one_of(predicts().map(lambda request: request.SerializeToString()), corrupted(predicts())))
    def target(data: bytes) -> None:
        try:
            predict_pb2.PredictResponse.FromString(parts[0].predict(data, Context()))
        except ServingError as error:
            allowed(error)

    run(target)


@pytest.mark.timeout(0 if SECONDS else 120)
def test_other_methods(parts: tuple[Servicer, RestApp]) -> None:
    servicer = parts[0]
    methods = st.sampled_from(
        [servicer.classify, servicer.regress, servicer.multi_inference, servicer.status, servicer.metadata]
    )

    @fuzzed(methods, st.one_of(st.binary(max_size=60), corrupted(predicts())))
    def target(method: Any, data: bytes) -> None:
        try:
            method(data, Context()).SerializeToString()
        except ServingError as error:
            allowed(error)

    run(target)


def json_values() -> st.SearchStrategy[Any]:
    leaf = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just({"b64": "YQ"}),
        st.sampled_from([1e300, 1 << 63, 1 << 64, 10**400, "NaN", {"b64": 3}]),
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(ALIASES, inner, max_size=3)),
        max_leaves=12,
    )


BODIES = st.one_of(
    st.dictionaries(
        st.sampled_from(["instances", "inputs", "signature_name", "examples", "context", "x"]),
        st.one_of(json_values(), SIGNATURES),
        max_size=3,
    ).map(lambda document: json.dumps(document).encode()),
    json_values().map(lambda value: json.dumps({"inputs": value}).replace("Infinity", "Inf").encode()),
    json_values().map(lambda value: json.dumps({"instances": [value]}).encode()),
    st.binary(max_size=60),
)
MIDDLES = ["", "/versions/1", "/versions/99999999999999999999", "/labels/stable", "/metadata"]
VERBS = ["", ":predict", ":classify", ":regress", ":x"]
TRICKS = [
    "/v1/models/../../etc/passwd:predict",
    "/v1/models/%2e%2e%2f:predict",
    "/v1/models/a%00b",
    "//v1/",
    "/V1/MODELS/affine",
]
PATHS = st.one_of(
    st.tuples(MODELS, st.sampled_from(MIDDLES), st.sampled_from(VERBS)).map(
        lambda parts: "/v1/models/" + "".join(parts)
    ),
    st.text(max_size=30).map(lambda text: "/v1/models/" + text),
    st.sampled_from(TRICKS),
)


@pytest.mark.timeout(0 if SECONDS else 120)
def test_rest(parts: tuple[Servicer, RestApp]) -> None:
    @fuzzed(st.sampled_from(["POST", "POST", "POST", "GET", "PUT"]), PATHS, BODIES, st.integers(0, 60))
    def target(method: str, path: str, body: bytes, end: int) -> None:
        for data in (body, body[:end]):
            answer = parts[1].answer(method, path, data)
            assert answer.status in (200, 400, 404, 501), answer
            if answer.status == 200:
                continue
            assert answer.status == 404 or json.loads(answer.body)["error"]

    run(target)


@pytest.mark.timeout(0 if SECONDS else 120)
def test_bodies(parts: tuple[Servicer, RestApp]) -> None:
    @fuzzed(
        st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda data: b"\x1f\x8b\x08\x00" + data))
    )
    def target(data: bytes) -> None:
        try:
            gunzip(data)
        except ServingError as error:
            allowed(error)

    run(target)


def test_the_strategies_reach_the_model(parts: tuple[Servicer, RestApp]) -> None:
    """The fuzz is worth nothing if every request fails at the door."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "affine"
    request.inputs["x"].dtype = types_pb2.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(2)
    answer = predict_pb2.PredictResponse.FromString(parts[0].predict(request.SerializeToString(), Context()))
    assert list(answer.outputs["y"].float_val) == [3.0]
    with pytest.raises((ServingError, DecodeError)):
        classification_pb2.ClassificationRequest.FromString(b"\xff")
