"""Predict and its kin, the same for gRPC and REST: check a request against its signature, run it, build the answer."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving import examples, tensors
from serving.errors import invalid
from serving.metrics import Metrics
from serving.models import ModelManager
from serving.request import DEFAULT_SIGNATURE, parse_predict
from serving.servable import Runnable


class LastRun(threading.local):
    """Of each thread: how many seconds its last run of a model took."""

    seconds = 0.0


class Predictor:
    """Runs Predict on a manager's models, and counts."""

    def __init__(
        self, manager: ModelManager, metrics: Metrics, *, as_content: bool = False, check_method: bool = False
    ) -> None:
        self.manager = manager
        self._metrics = metrics
        self._as_content = as_content
        self.check_method = check_method
        self.last_run = LastRun()

    def predict(self, request: Any, timeout_s: float | None) -> bytes:
        """Answer a PredictRequest with a PredictResponse's bytes; `timeout_s` is the time left, None: no limit."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        version, model = self.manager.find(request.model_spec)
        signature, inputs, wanted = parse_predict(model, request, self.check_method)
        results = self.run(model, request.model_spec.name, signature, inputs, wanted, timeout_s)
        spec = _spec_bytes(request.model_spec.name, signature, version)
        return b"".join([spec, *tensors.encode(results, as_content=self._as_content)])

    def classify(self, request: Any, timeout_s: float | None) -> Any:
        """Answer a ClassificationRequest."""
        response = classification_pb2.ClassificationResponse()
        self._examples(request, examples.CLASSIFY, response, timeout_s)
        return response

    def regress(self, request: Any, timeout_s: float | None) -> Any:
        """Answer a RegressionRequest."""
        response = regression_pb2.RegressionResponse()
        self._examples(request, examples.REGRESS, response, timeout_s)
        return response

    def _examples(self, request: Any, method: str, response: Any, timeout_s: float | None) -> None:
        """Run Classify or Regress and fill its response."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        version, model = self.manager.find(request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = examples.find_signature(model.signatures, name, method, self.check_method)
        outputs = examples.outputs_of(signature, method, self.check_method)
        rows = examples.serialized(request.input)
        api = "Classify" if method == examples.CLASSIFY else "Regress"
        results = self.run(model, request.model_spec.name, name, {"inputs": rows}, outputs, timeout_s, api)
        _fill_spec(response.model_spec, request.model_spec.name, name, version)
        examples.FILL[method](results, len(rows), response.result)

    def multi_inference(self, request: Any, timeout_s: float | None) -> Any:
        """Answer a MultiInferenceRequest: each signature is run by itself."""
        version, model = self.manager.find(request.tasks[0].model_spec if request.tasks else ModelSpec())
        plan = examples.check_tasks(request.tasks, model.signatures, self.check_method)
        rows = examples.serialized(request.input)
        response = inference_pb2.MultiInferenceResponse()
        model_name = request.tasks[0].model_spec.name
        for name, method, outputs in plan:
            results = self.run(
                model, model_name, name, {"inputs": rows}, outputs, timeout_s, "MultiInference"
            )
            entry = response.results.add()
            _fill_spec(entry.model_spec, model_name, name, version)
            kind = "classification_result" if method == examples.CLASSIFY else "regression_result"
            examples.FILL[method](results, len(rows), getattr(entry, kind))
        return response

    def run(
        self,
        model: Runnable,
        name: str,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        wanted: list[str],
        timeout_s: float | None,
        api: str = "Predict",
    ) -> dict[str, NDArray[Any]]:
        """Run a signature of the model called `name` and record how long that took."""
        start = time.perf_counter()
        try:
            results = model.run(signature, inputs, wanted, timeout_s)
        except (TypeError, ValueError) as error:  # an array TensorFlow cannot take
            raise invalid(str(error)) from None
        self.last_run.seconds = seconds = time.perf_counter() - start
        self._metrics.observe_run(name, seconds, api)
        return results


@functools.lru_cache(maxsize=1024)
def _spec_bytes(name: str, signature: str, version: int) -> bytes:
    """A PredictResponse without outputs, in wire form."""
    response = predict_pb2.PredictResponse()
    _fill_spec(response.model_spec, name, signature, version)
    data: bytes = response.SerializeToString()
    return data


def _fill_spec(spec: Any, name: str, signature: str, version: int) -> None:
    """What an answer says of the model; never a label."""
    spec.name, spec.signature_name = name, signature
    spec.version.value = version
