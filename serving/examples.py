"""Classify, Regress and MultiInference: tf.train.Examples in, labels with scores or values out.

They are Predict with one input of serialized Examples and fixed names of outputs; texts and checks are TF Serving's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.errors import Code, ServingError, invalid

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_KINDS = {CLASSIFY: "classification", REGRESS: "regression"}
Results = Mapping[str, NDArray[Any]]


def serialized(message: Any) -> NDArray[Any]:
    """An Input's Examples as a vector of bytes, the context before each; raises ServingError when it is empty."""
    kind = message.WhichOneof("kind")
    source = getattr(message, kind) if kind else None
    if source is None or not source.examples:
        raise invalid("Input is empty.")
    # Messages written one after the other parse as their merger.
    context = source.context.SerializeToString() if kind == "example_list_with_context" else b""
    examples = np.empty(len(source.examples), object)
    examples[:] = [context + example.SerializeToString() for example in source.examples]
    return examples


def find_signature(signatures: Mapping[str, Any], name: str, method: str, check_method: bool) -> Any:
    """The SignatureDef of Classify or Regress (`method`); raises ServingError."""
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    _check_method(signatures[name], method, check_method)
    return signatures[name]


def _check_method(signature: Any, method: str, check_method: bool) -> None:
    if check_method and signature.method_name != method:
        raise invalid(
            f"Expected {_KINDS[method]} signature method_name to be {method}. Was: {signature.method_name}"
        )


def outputs_of(signature: Any, method: str, check_method: bool) -> list[str]:
    """The outputs to compute for `method`; raises ServingError when the signature is not of its form."""
    _check_method(signature, method, check_method)
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if method == CLASSIFY and len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if method == REGRESS and len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        text = f"No {_KINDS[method]} inputs found in SignatureDef: {signature}"
        raise ServingError(Code.FAILED_PRECONDITION, text)
    names = ("classes", "scores") if method == CLASSIFY else ("outputs",)
    wanted = [name for name in names if name in signature.outputs]
    if wanted:
        return wanted
    text = f"No regression outputs found in SignatureDef: {signature}"
    if method == CLASSIFY:
        text = (
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    raise ServingError(Code.FAILED_PRECONDITION, text)


def _shape(array: NDArray[Any]) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype_name(array: NDArray[Any]) -> str:
    from serving.tensors import dtype_of

    return str(types_pb2.DataType.Name(dtype_of(array)))


def fill_classification(results: Results, count: int, message: Any) -> None:
    """Write classes (strings) and scores (float32), each `count` × classes, into a ClassificationResult."""
    for name, dtype, expected in (("classes", object, "DT_STRING"), ("scores", np.float32, "DT_FLOAT")):
        array = results.get(name)
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of {expected}. Got: {_dtype_name(array)}")
        if array.shape[0] != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")
    classes, scores = results.get("classes"), results.get("scores")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        text = "Tensors class and score should match in dim_size(1). Got "
        raise invalid(f"{text}{classes.shape[1]} vs. {scores.shape[1]}")
    width = next(array.shape[1] for array in results.values())
    for row in range(count):
        entry = message.classifications.add()
        for column in range(width):
            one = entry.classes.add()
            if classes is not None:
                one.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                one.score = scores[row, column]


def fill_regression(results: Results, count: int, message: Any) -> None:
    """Write `count` float32 values into a RegressionResult."""
    array = results["outputs"]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        text = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
        raise invalid(text + _shape(array))
    if array.shape[0] != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype_name(array)}")
    for value in array.ravel().tolist():
        message.regressions.add(value=value)


FILL: dict[str, Callable[[Results, int, Any], None]] = {
    CLASSIFY: fill_classification,
    REGRESS: fill_regression,
}


def check_tasks(
    tasks: Sequence[Any], signatures: Mapping[str, Any], check_method: bool
) -> list[tuple[str, str, list[str]]]:
    """The tasks of a MultiInferenceRequest as (signature, method, outputs); raises ServingError."""
    plan: list[tuple[str, str, list[str]]] = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or "serving_default"
        if name in (signature for signature, _, _ in plan):
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in FILL:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        outputs = outputs_of(signatures[name], task.method_name, check_method)
        plan.append((name, task.method_name, outputs))
    return plan
