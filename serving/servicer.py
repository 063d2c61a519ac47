"""The gRPC methods: request bytes in, response messages, or their bytes (or ServingError), out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import info
from serving.config import from_proto
from serving.errors import Code, ServingError, invalid
from serving.metrics import Metrics
from serving.predict import Predictor

NO_DEADLINE_S = 1e9  # grpcio says 9.2e18 s for a call without a deadline


class Servicer:
    """The methods of PredictionService and ModelService."""

    def __init__(self, predictor: Predictor, metrics: Metrics) -> None:
        self._predictor = predictor
        self._manager = predictor.manager
        self._metrics = metrics

    def predict(self, data: bytes, context: Any) -> Any:
        """PredictionService.Predict."""
        return self._counted("Predict", self._predictor.predict, predict_pb2.PredictRequest, data, context)

    def classify(self, data: bytes, context: Any) -> Any:
        """PredictionService.Classify."""
        message = classification_pb2.ClassificationRequest
        return self._counted("Classify", self._predictor.classify, message, data, context)

    def regress(self, data: bytes, context: Any) -> Any:
        """PredictionService.Regress."""
        message = regression_pb2.RegressionRequest
        return self._counted("Regress", self._predictor.regress, message, data, context)

    def multi_inference(self, data: bytes, context: Any) -> Any:
        """PredictionService.MultiInference, which TF Serving does not count."""
        request = parse(inference_pb2.MultiInferenceRequest, data)
        return self._predictor.multi_inference(request, _time_left(context))

    def _counted(
        self, api: str, run: Callable[[Any, float | None], Any], message: Any, data: bytes, context: Any
    ) -> Any:
        """Parse, run and record one request."""
        start = time.perf_counter()
        request = parse(message, data)
        name = request.model_spec.name
        label = self._metrics.model_label(name, self._manager.knows(name))
        answer, seconds = self._metrics.counted(
            label, api, "GRPC", start, lambda: run(request, _time_left(context))
        )
        # TF Serving says nothing of this; our relay takes it apart into the mesh's and the server's time.
        told = f"total;dur={seconds * 1e3:.3f}, infer;dur={self._predictor.last_run.seconds * 1e3:.3f}"
        context.set_trailing_metadata((("server-timing", told),))
        return answer

    def metadata(self, data: bytes, _: Any) -> Any:
        """PredictionService.GetModelMetadata."""
        return info.model_metadata(self._manager, parse(get_model_metadata_pb2.GetModelMetadataRequest, data))

    def status(self, data: bytes, _: Any) -> Any:
        """ModelService.GetModelStatus."""
        return info.model_status(self._manager, parse(get_model_status_pb2.GetModelStatusRequest, data))

    def reload(self, data: bytes, context: Any) -> Any:
        """ModelService.HandleReloadConfigRequest: the code is the RPC's and the response's, both.

        The response tells by how much the reload raised each counter in `metric_names`.
        """
        request = parse(model_management_pb2.ReloadConfigRequest, data)
        before = self._metrics.counters(request.metric_names)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self._manager.configure(from_proto(request.config, self._manager.configured()))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK, and there
        for name, value in self._metrics.counters(request.metric_names).items():
            response.metric.add(name=name, int64_value_increase=value - before[name])
        return response


def parse(message: Any, data: bytes) -> Any:
    """A message of a protobuf class from a request's bytes; raises ServingError."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise ServingError(Code.INTERNAL, f"The request is not a valid {message.DESCRIPTOR.name}.") from None


def _time_left(context: Any) -> float | None:
    """Seconds until the client's deadline, None when it set none. Raises ServingError when it has passed."""
    left: float = context.time_remaining()
    if left <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    return None if left > NO_DEADLINE_S else left
