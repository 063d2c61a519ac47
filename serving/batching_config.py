"""How requests are batched: BatchingParameters from a file, with TF Serving's defaults and checks."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from typing import Any

from serving.config import read_text_proto
from serving.config_protos import BatchingParameters
from serving.errors import invalid
from serving.lanes import CPUS

PER_MODEL_FILE = "batching_params.pbtxt"  # in a version's folder


@dataclass(frozen=True)
class BatchingOptions:
    """TF Serving's BatchingParameters, and `isolate_failures`, which is ours."""

    max_batch_size: int = 1000
    timeout_micros: int = 0
    max_enqueued_batches: int = 10
    threads: int = CPUS
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    split: bool = False
    max_execution_batch_size: int = 1000
    isolate_failures: bool = False
    per_model: bool = False

    def padded(self, size: int) -> int:
        """The smallest allowed batch that holds `size` rows; `size` itself when none is."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def from_proto(proto: Any) -> BatchingOptions:
    """The options of a BatchingParameters message; raises ServingError."""

    def value(name: str, default: int, least: int = 1) -> int:
        number = getattr(proto, name).value if proto.HasField(name) else default
        if number < least:
            raise invalid(f"{name} must be {'positive' if least else 'non-negative'}; was {number}")
        return int(number)

    largest = value("max_batch_size", BatchingOptions.max_batch_size)
    options = BatchingOptions(
        max_batch_size=largest,
        timeout_micros=value("batch_timeout_micros", 0, least=0),
        max_enqueued_batches=value("max_enqueued_batches", BatchingOptions.max_enqueued_batches),
        threads=value("num_batch_threads", CPUS),
        thread_pool_name=proto.thread_pool_name.value,
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
        split=proto.enable_large_batch_splitting.value,
        max_execution_batch_size=value("max_execution_batch_size", largest),
    )
    _check_sizes(options)
    return options


def _check_sizes(options: BatchingOptions) -> None:
    sizes = options.allowed_batch_sizes
    if options.split and options.max_execution_batch_size > options.max_batch_size:
        raise invalid(
            "max_execution_batch_size should be less than or equal to max_batch_size; was "
            f"{options.max_execution_batch_size}, max_batch_size is {options.max_batch_size}"
        )
    if not sizes:
        return
    if sizes[0] < 1 or any(first >= second for first, second in itertools.pairwise(sizes)):
        raise invalid("allowed_batch_sizes entries must be monotonically increasing")
    name = "max_execution_batch_size" if options.split else "max_batch_size"
    expected = options.max_execution_batch_size if options.split else options.max_batch_size
    if sizes[-1] != expected:
        verb = "be equal to" if options.split else "match"
        raise invalid(
            f"Last entry in allowed_batch_sizes must {verb} {name}; last entry was {sizes[-1]}; "
            f"expected {expected}"
        )


def read_batching_parameters(path: str) -> BatchingOptions:
    """The options of a --batching_parameters_file; raises ServingError."""
    return from_proto(read_text_proto(path, BatchingParameters()))


def for_model(options: BatchingOptions, path: str) -> BatchingOptions | None:
    """The options for the version in folder `path`; None when it is not batched. Raises ServingError.

    With --enable_per_model_batching_parameters only models with a file of their own are batched; threads are
    those of the common file.
    """
    from tensorflow.python.lib.io import file_io  # this module is also used before TensorFlow is needed

    if not options.per_model:
        return options
    file = os.path.join(path, PER_MODEL_FILE)
    if not file_io.file_exists_v2(file):
        return None
    return replace(
        read_batching_parameters(file),
        threads=options.threads,
        thread_pool_name=options.thread_pool_name,
        isolate_failures=options.isolate_failures,
    )
