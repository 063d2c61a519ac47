"""SavedModels that show what a server costs, and what batching brings, better than a detector does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from client.wire import tfserving_pb2 as wire

DENSE = 3072  # features in and out of each layer
LAYERS = 3  # 113 MB of weights: more than caches hold, so that a call of one row waits for memory


def save_noop(folder: Path) -> None:
    """A SavedModel that returns its input."""
    _save(folder, 1, lambda tf: tf.identity)


def save_dense(folder: Path) -> None:
    """A SavedModel of LAYERS dense layers, on rows of DENSE floats: its weights cost more to read than to use."""

    def layers(tf: Any) -> Callable[[Any], Any]:
        random = np.random.default_rng(0)
        weights = [
            tf.Variable(random.standard_normal((DENSE, DENSE), np.float32) / DENSE**0.5)
            for _ in range(LAYERS)
        ]

        def serve(x: Any) -> Any:
            for one in weights:
                x = tf.nn.relu(tf.matmul(x, one))
            return tf.reduce_max(x, axis=1)

        serve.weights = weights  # type: ignore[attr-defined]
        return serve

    _save(folder, DENSE, layers)


def _save(folder: Path, features: int, make: Callable[[Any], Callable[[Any], Any]]) -> None:
    from model.quiet import tf

    shape = [None] if features == 1 else [None, features]
    module, call = tf.Module(), make(tf)
    module.kept = getattr(call, "weights", [])
    serve = tf.function(
        lambda x: {"y": call(x)}, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")]
    )
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures=serve)


def request(model: str, features: int) -> bytes:
    """A PredictRequest of one row of zeros, serialized."""
    message = wire.PredictRequest()
    message.model_spec.name = model
    tensor = message.inputs["x"]
    tensor.dtype = 1  # DT_FLOAT
    for size in (1,) if features == 1 else (1, features):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = bytes(4 * features)
    data: bytes = message.SerializeToString()
    return data
