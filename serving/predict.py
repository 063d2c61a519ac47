"""Predict, the same for gRPC and REST: check a request against its signature, run it, build the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2

from serving import tensors
from serving.errors import invalid
from serving.metrics import Metrics
from serving.models import ModelManager
from serving.request import parse_predict
from serving.sessions import Model


class Predictor:
    """Runs Predict on a manager's models, and counts."""

    def __init__(
        self, manager: ModelManager, metrics: Metrics, *, as_content: bool = False, check_method: bool = False
    ) -> None:
        self.manager = manager
        self._metrics = metrics
        self._as_content = as_content
        self._check_method = check_method

    def predict(self, request: Any, timeout_s: float | None) -> Any:
        """Answer a PredictRequest with a PredictResponse; `timeout_s` is the time left, None: no limit."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        version, model = self.manager.find(request.model_spec)
        signature, inputs, wanted = parse_predict(model, request, self._check_method)
        results = self.run(model, request.model_spec.name, signature, inputs, wanted, timeout_s)
        response = predict_pb2.PredictResponse()
        spec = response.model_spec
        spec.name, spec.signature_name = request.model_spec.name, signature
        spec.version.value = version
        for alias, array in results.items():
            tensors.encode(array, response.outputs[alias], as_content=self._as_content)
        return response

    def run(
        self,
        model: Model,
        name: str,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        wanted: list[str],
        timeout_s: float | None,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature of the model called `name` and record how long that took."""
        start = time.perf_counter()
        try:
            results = model.run(signature, inputs, wanted, timeout_s)
        except (TypeError, ValueError) as error:  # an array TensorFlow cannot take
            raise invalid(str(error)) from None
        self._metrics.observe_run(name, time.perf_counter() - start)
        return results
