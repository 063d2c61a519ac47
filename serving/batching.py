"""Requests merged into batches by TensorFlow's own batch scheduler, as in TF Serving's BatchingSession.

The scheduler comes with TensorFlow's BatchFunction op. What goes through it is not the tensors but pairs of
(call, row); the op's function hands the merged pairs back to Python, which merges those rows' inputs, runs the
model once and splits the outputs. So queueing, time-outs, full queues and large requests that are split are
TensorFlow's, and texts and padding are TF Serving's.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.client.session import Session
from tensorflow.python.framework import dtypes, errors, function, ops
from tensorflow.python.ops import array_ops, gen_batch_ops, script_ops

from serving.batch_merge import batch_size, merge, split
from serving.batching_config import BatchingOptions
from serving.errors import Code, ServingError, invalid
from serving.lite import LiteModel
from serving.metrics import BatchMetrics
from serving.sessions import Model

log = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Call:
    """One request on its way through the scheduler; its rows may end in several batches."""

    signature: str
    inputs: Arrays
    outputs: frozenset[str]
    deadline: float | None
    start: float
    error: ServingError | None = None
    parts: list[tuple[int, dict[str, NDArray[Any]]]] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """The rows `first` to `last` (exclusive) of a call, in one batch."""

    call: Call
    first: int
    last: int

    def inputs(self) -> dict[str, NDArray[Any]]:
        """These rows of each input."""
        return {name: array[self.first : self.last] for name, array in self.call.inputs.items()}


class BatchedModel:
    """A Model whose calls are batched. Same methods, same errors."""

    def __init__(self, model: Model | LiteModel, options: BatchingOptions, metrics: BatchMetrics) -> None:
        self.model = model
        self._options = options
        self._metrics = metrics
        self._calls: dict[int, Call] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._session, self._queues = _scheduler(weakref.ref(self), sorted(model.signatures), options)

    @property
    def signatures(self) -> Mapping[str, Any]:
        """SignatureDef by name."""
        return self.model.signatures

    @property
    def path(self) -> str:
        """The version's folder."""
        return self.model.path

    def warm(
        self,
        signature: str,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        beside_serving: bool = False,
    ) -> None:
        """See Model.warm; not batched."""
        self.model.warm(signature, inputs, outputs, beside_serving)

    def run(
        self,
        signature: str,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run one signature, in a batch with other calls of it; see Model.run."""
        size = batch_size(inputs)
        for _ in inputs:
            self._metrics.input_batch_size.observe(size)
        if size == 0:  # the scheduler takes no empty task
            return self.model.run(signature, inputs, outputs, timeout_s)
        names = list(outputs or self.signatures[signature].outputs)
        now = time.monotonic()
        call = Call(signature, inputs, frozenset(names), None if timeout_s is None else now + timeout_s, now)
        number = next(self._ids)
        self._calls[number] = call
        try:
            self._schedule(signature, np.stack([np.full(size, number), np.arange(size)], axis=1))
        finally:
            del self._calls[number]
        if call.error is not None:
            raise call.error
        parts = [part for _, part in sorted(call.parts, key=lambda part: part[0])]
        if len(parts) == 1:
            return {name: parts[0][name] for name in names}
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _schedule(self, signature: str, pairs: NDArray[np.int64]) -> None:
        """Put the rows into the signature's queue and wait until they are done; raises ServingError."""
        feed, fetch = self._queues[signature]
        try:
            pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, None, {feed: pairs}, [fetch], [], None
            )
        except errors.OpError as error:
            raise ServingError(Code(error.error_code), error.message.partition("\n\t [[")[0]) from None

    # --- the scheduler's side ------------------------------------------------------------------------------

    def process(self, pairs: NDArray[np.int64]) -> None:
        """Run one batch of (call, row) pairs and give each call its part; never raises."""
        batch = self._rows(pairs)
        try:
            self._process(batch)
        except ServingError as error:
            self._fail(batch, error)
        except Exception:  # a bug: the callers must not wait for ever
            log.exception("A batch failed")
            self._fail(
                batch, ServingError(Code.INTERNAL, "Internal error; the server's log has the details.")
            )

    def _rows(self, pairs: NDArray[np.int64]) -> list[Rows]:
        """The batch's rows by call; what the scheduler itself appended as padding is dropped."""
        found: dict[int, list[int]] = {}
        for number, row in pairs.tolist():
            rows = found.setdefault(number, [])
            if not rows or row > rows[-1]:
                rows.append(row)
        return [Rows(self._calls[number], rows[0], rows[-1] + 1) for number, rows in found.items()]

    @staticmethod
    def _fail(batch: Sequence[Rows], error: ServingError) -> None:
        for rows in batch:
            rows.call.error = error

    def _process(self, batch: list[Rows]) -> None:
        now = time.monotonic()
        for rows in batch:
            waited_us = (now - rows.call.start) * 1e6
            self._metrics.queuing_us.observe(waited_us, self._options.thread_pool_name)
        deadlines = [rows.call.deadline for rows in batch]
        latest = (
            None if None in deadlines else max(deadline for deadline in deadlines if deadline is not None)
        )
        if latest is not None and latest <= now:
            text = "Run() timeout exceeded while waiting in batching queue"
            raise ServingError(Code.RESOURCE_EXHAUSTED, text)
        try:
            self._run(batch, None if latest is None else latest - now)
        except ServingError as error:
            if not self._options.isolate_failures or len(batch) == 1 or error.code == Code.DEADLINE_EXCEEDED:
                raise
            self._run_alone(batch, latest)

    def _run_alone(self, batch: Sequence[Rows], latest: float | None) -> None:
        """After a batch failed: run each call by itself, so that only what fails alone fails."""
        for rows in batch:
            try:
                self._run([rows], None if latest is None else latest - time.monotonic())
            except ServingError as error:
                rows.call.error = error

    def _run(self, batch: Sequence[Rows], timeout_s: float | None) -> None:
        signature = batch[0].call.signature
        size = sum(rows.last - rows.first for rows in batch)
        padded = self._options.padded(size)
        self._metrics.padding_size.observe(padded - size, str(padded))
        self._metrics.processed_batch_size.observe(padded)
        names = {alias: info.name for alias, info in self.signatures[signature].inputs.items()}
        inputs = merge([rows.inputs() for rows in batch], names, padded - size, self._options)
        wanted = sorted(frozenset().union(*(rows.call.outputs for rows in batch)))
        try:
            results = self.model.run(signature, inputs, wanted, timeout_s)
        except (TypeError, ValueError) as error:  # an array TensorFlow cannot take
            raise invalid(str(error)) from None
        finally:
            self._metrics.wrapped_run_count.inc()
        parts = split(results, [rows.last - rows.first for rows in batch], padded)
        for rows, part in zip(batch, parts, strict=True):
            rows.call.parts.append((rows.first, part))


def _scheduler(
    model: weakref.ref[BatchedModel], signatures: Sequence[str], options: BatchingOptions
) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """A session with one scheduler and a queue for each signature: (feed, fetch) handles by signature."""

    def process(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        owner = model()
        if owner is not None:  # a caller holds it, so it is there
            owner.process(pairs)
        return pairs

    # The scheduler needs the sizes only to split; padding is done where the inputs are merged.
    sizes = [options.max_execution_batch_size] if options.split else []
    graph = ops.Graph()
    with graph.as_default():

        @function.Defun(dtypes.int64)  # type: ignore[untyped-decorator]
        def batch(pairs: Any) -> Any:
            return script_ops.numpy_function(process, [pairs], dtypes.int64)

        queues = {}
        for name in signatures:
            feed = array_ops.placeholder(dtypes.int64, [None, 2])
            (fetch,) = gen_batch_ops.batch_function(
                [feed],
                captured_tensors=[],
                f=batch,
                num_batch_threads=options.threads,
                max_batch_size=options.max_batch_size,
                batch_timeout_micros=options.timeout_micros,
                max_enqueued_batches=options.max_enqueued_batches,
                allowed_batch_sizes=sizes,
                enable_large_batch_splitting=options.split,
                shared_name="batches",
                batching_queue=name,
                Tout=[dtypes.int64],
            )
            queues[name] = (feed._as_tf_output(), fetch._as_tf_output())
    graph.finalize()
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=1,
        inter_op_parallelism_threads=options.threads + 1,  # a batch holds one thread while it runs
        use_per_session_threads=True,
    )
    session = Session(graph=graph, config=config)
    session._extend_graph()
    return session, queues
