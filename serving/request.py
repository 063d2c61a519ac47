"""A PredictRequest checked against the model's signature, with TF Serving's texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from serving import tensors
from serving.errors import Code, ServingError, invalid
from serving.servable import Runnable

DEFAULT_SIGNATURE = "serving_default"
METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


def _set(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def parse_predict(
    model: Runnable, request: Any, check_method: bool = False
) -> tuple[str, dict[str, NDArray[Any]], list[str]]:
    """Signature, inputs and wanted outputs of a PredictRequest; raises ServingError."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    signature = model.signatures[name]
    if check_method:
        check_method_name(signature)
    return name, _inputs(signature, request.inputs), _outputs(signature, request.output_filter)


def check_method_name(signature: Any) -> None:
    """Raise ServingError unless the signature's method_name is one of TF Serving's."""
    if signature.method_name not in METHODS:
        text = "Expected prediction signature method_name to be one of {" + ", ".join(METHODS) + "}. "
        raise ServingError(Code.INTERNAL, f"{text}Was: {signature.method_name}")


def _inputs(signature: Any, sent: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The request's tensors as arrays, defaults filled in."""
    expected = signature.inputs
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_set(sent)}}}) != "
            f"len({{{_set(expected)}}}). Sent extra: {{{_set(set(sent) - set(expected))}}}. "
            f"Missing but required: {{{_set(set(expected) - set(sent))}}}."
        )
    arrays = {}
    for alias in sorted(expected):
        tensor = sent[alias] if alias in sent else signature.defaults.get(alias)
        if tensor is None:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {expected[alias].name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {{{_set(sent)}}}, or "
                f"default input alias set: {_set(signature.defaults)}"
            )
        array = tensors.decode(tensor)
        if array is None:
            raise invalid(f"tensor parsing error: {alias}")
        arrays[alias] = array
    return arrays


def _outputs(signature: Any, wanted: Iterable[str]) -> list[str]:
    """The output filter, checked; empty when all are wanted."""
    seen: list[str] = []
    for alias in wanted:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_set(signature.outputs)}}}."
            )
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.append(alias)
    return seen
