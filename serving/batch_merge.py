"""Inputs of several calls merged into one batch, and the batch's outputs split again; texts are TF Serving's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.batching_config import BatchingOptions
from serving.errors import Code, ServingError, invalid

Arrays = Mapping[str, NDArray[Any]]


def batch_size(inputs: Arrays) -> int:
    """The rows of a call: its inputs' common 0th dimension; raises ServingError."""
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    first, *others = [int(array.shape[0]) for array in inputs.values()]
    if any(size != first for size in others):
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return first


def merge(
    tasks: Sequence[Arrays], tensor_names: Mapping[str, str], padding: int, options: BatchingOptions
) -> dict[str, NDArray[Any]]:
    """The tasks' inputs one below the other, then `padding` copies of the last task's first row.

    `tensor_names` gives the graph's tensor for each alias, for errors. Raises ServingError when shapes differ
    beyond the 0th dimension and pad_variable_length_inputs is off, or ranks differ.
    """
    merged = {}
    for alias in tasks[0]:
        arrays = [task[alias] for task in tasks]
        if len({array.dtype for array in arrays}) > 1:
            raise ServingError(Code.INTERNAL, f"Tensor concat operation failed: types of {alias} differ")
        if len({array.shape[1:] for array in arrays}) > 1:
            if not options.pad_variable_length_inputs:
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Tensors with name '{tensor_names[alias]}' from different tasks have different shapes and "
                    "padding is turned off. Set pad_variable_length_inputs to true, or ensure that all tensors "
                    "with the same name have equal dimensions starting with the first dim.",
                )
            arrays = _padded(arrays)
        if padding:
            arrays.append(np.repeat(arrays[-1][:1], padding, axis=0))
        merged[alias] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def _padded(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays filled up at the end of each dimension but the 0th, with zeros or empty strings."""
    if len({array.ndim for array in arrays}) > 1:
        raise ServingError(Code.INVALID_ARGUMENT, "Only tensors of one rank can be padded to one batch.")
    shape = np.max([array.shape for array in arrays], axis=0)[1:]
    filled = []
    for array in arrays:
        whole = np.full((array.shape[0], *shape), b"" if array.dtype == object else 0, array.dtype)
        whole[tuple(slice(size) for size in array.shape)] = array
        filled.append(whole)
    return filled


def split(results: Arrays, sizes: Sequence[int], total: int) -> list[dict[str, NDArray[Any]]]:
    """Each task's rows of the outputs; raises ServingError when an output does not have `total` rows."""
    for array in results.values():
        if array.ndim == 0:
            raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if array.shape[0] != total:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
                "the input tensors",
            )
    ends = np.cumsum(sizes).tolist()
    return [
        {name: array[end - size : end] for name, array in results.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]
