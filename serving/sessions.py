"""A SavedModel in TensorFlow sessions, with threads chosen by load.

One caller wants all cores inside one call; many callers want one core each (YOLOv8n in bf16, 2 cores, four
callers: 51 frames a second with one thread a call, 45 with all threads in each). TensorFlow fixes the threads
of a session when it is made, so a `Model` keeps two over one graph: *wide* (every core inside an op) for a
call that is alone, *narrow* (one thread inside an op) when several are in flight, at most one more at once than
there are cores, which share its threads between ops, the rest first come first served.

Memory: each session has its own folded and packed weights and buffers; the second one of a YOLOv8n takes 90 MB.

Each session has its own threads, and oneDNN's kernels, by what `serving` sets in the environment before TensorFlow
is imported.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.client.session import Session
from tensorflow.python.framework import errors

from serving import foreign, op_libraries, saved_model
from serving.errors import Code, ServingError, invalid
from serving.gently import gently
from serving.graphs import ImportedGraph
from serving.lanes import CPUS, Lane, Lanes, wait_for_a_pause
from serving.stateful import keeps_state
from serving.tensors import QUANTISED

MAX_FETCH_SETS = 16  # per signature; TensorFlow compiles and keeps one graph per set of outputs asked for


@dataclass(frozen=True)
class SessionOptions:
    """What the sessions of a model are made with.

    `intra_op` and `inter_op` are threads inside an op and between ops; 0: as `config` says, else TensorFlow's
    default. `config` is a serialized ConfigProto. With `by_load` the threads follow the load (see the module).
    """

    intra_op: int = 0
    inter_op: int = 0
    config: bytes = b""
    by_load: bool = True


@dataclass(frozen=True)
class Endpoint:
    """One signature, bound to the graph: TF_Output handles by input and output name.

    `quantised`: the dtypes of outputs that TensorFlow gives as plain integers.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    quantised: Mapping[str, np.dtype[Any]]


class Model:
    """A loaded SavedModel. Its methods may be called from any thread."""

    def __init__(self, meta_graph: Any, graph: ImportedGraph, sessions: Mapping[Lane, Any]) -> None:
        self.meta_graph = meta_graph
        self.signatures: Mapping[str, Any] = meta_graph.signature_def  # by name
        self.path = graph.path
        self._graph = graph
        self.runs: dict[Lane, int] = dict.fromkeys(sessions, 0)  # approximate: not locked
        self._sessions = sessions
        self._lanes = Lanes() if len(sessions) > 1 else None
        self._endpoints: dict[str, Endpoint] = {}
        self._fetch_sets: set[tuple[str, frozenset[str]]] = set()

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run one signature.

        Args:
            signature: a key of `signatures`.
            inputs: an array per input (strings: dtype object, of bytes).
            outputs: the outputs wanted; None or empty: all.
            timeout_s: seconds until the run is given up; None: never.

        Raises ServingError with TensorFlow's own code and text.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._lanes is None:
            return self._run_on("wide", signature, inputs, outputs, deadline)
        lane = self._lanes.enter(deadline)
        try:
            return self._run_on(lane, signature, inputs, outputs, deadline)
        finally:
            self._lanes.leave()

    def warm(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        beside_serving: bool = False,
    ) -> None:
        """Run once on every session, so that no request pays for optimising the graph; `beside_serving` gently, in the
        pauses between others' calls, whose cores it needs as much as they do."""
        for lane in self._sessions:
            if beside_serving:
                wait_for_a_pause()
            run = functools.partial(self._run_on, lane, signature, inputs, outputs, None)
            gently(run, beside_serving)

    def _run_on(
        self,
        lane: Lane,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None,
        deadline: float | None,
    ) -> dict[str, NDArray[Any]]:
        endpoint = self._endpoints.get(signature) or self._bind(signature)
        names = self._fetches(signature, endpoint, outputs) if outputs else endpoint.outputs
        options = None
        if deadline is not None:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline passed before the request was run.")
            serialized = config_pb2.RunOptions(timeout_in_ms=left_ms).SerializeToString()
            options = pywrap_tf_session.TF_NewBufferFromString(serialized)
        feed = {endpoint.inputs[name]: array for name, array in inputs.items()}
        fetch = list(map(endpoint.outputs.__getitem__, names))
        self.runs[lane] += 1
        try:
            # What Session.run calls in the end; its own checks would answer with other texts.
            results = pywrap_tf_session.TF_SessionRun_wrapper(
                self._sessions[lane]._session, options, feed, fetch, [], None
            )
        except errors.OpError as error:
            raise ServingError(Code(error.error_code), error.message) from None
        except UnicodeDecodeError as error:  # an op's text with bytes of a client; which code it had is lost
            raise invalid(error.object.decode("utf-8", "replace")) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        if bytes in map(type, results):
            results = list(map(_boxed, results))
        found = dict(zip(names, map(np.asarray, results), strict=True))
        if endpoint.quantised:
            found = {
                name: array.view(endpoint.quantised.get(name, array.dtype)) for name, array in found.items()
            }
        return {name: found[name] for name in outputs} if outputs else found

    def _bind(self, signature: str) -> Endpoint:
        """Look the signature's tensors up in the graph, once."""
        definition = self.signatures[signature]

        def handles(infos: Mapping[str, Any]) -> dict[str, Any]:
            return {name: self._graph.output(infos[name].name) for name in sorted(infos)}

        try:
            endpoint = Endpoint(
                handles(definition.inputs), handles(definition.outputs), _quantised(definition.outputs)
            )
        except (KeyError, ValueError) as error:
            raise invalid(
                f'Signature "{signature}" names a tensor that the graph does not have: {error}'
            ) from None
        self._endpoints[signature] = endpoint
        return endpoint

    def _fetches(self, signature: str, endpoint: Endpoint, outputs: Sequence[str]) -> Collection[str]:
        """The outputs to compute: those asked for, or all once too many different sets were asked for."""
        key = (signature, frozenset(outputs))
        if key not in self._fetch_sets:
            if len(key[1]) == len(endpoint.outputs) or len(self._fetch_sets) >= MAX_FETCH_SETS:
                return endpoint.outputs
            self._fetch_sets.add(key)
        return sorted(key[1])


def _boxed(result: Any) -> Any:
    """A fetched value; a string scalar, which comes as bytes, as an array: numpy would cut zeros at its end."""
    if isinstance(result, bytes):
        scalar = np.empty((), object)
        scalar[()] = result
        return scalar
    return result


def _quantised(infos: Mapping[str, Any]) -> dict[str, np.dtype[Any]]:
    """The numpy dtypes of those tensors that are quantised."""
    return {name: np.dtype(QUANTISED[info.dtype]) for name, info in infos.items() if info.dtype in QUANTISED}


def _session(graph: Any, options: SessionOptions) -> Any:
    """A session over `graph` with its own threads. Grappler stays on: it folds and fuses."""
    config = config_pb2.ConfigProto.FromString(options.config)
    if options.by_load or not options.config:
        config.use_per_session_threads = config.allow_soft_placement = True
        # A pool's threads that wait for work by spinning take the cores from the other session's, and from gRPC's.
        config.experimental.disable_thread_spinning = True
    if options.intra_op:
        config.intra_op_parallelism_threads = options.intra_op
    if options.inter_op:
        config.inter_op_parallelism_threads = options.inter_op
    return Session(graph=graph, config=config)


def load(path: str, tags: Sequence[str] = ("serve",), options: SessionOptions = SessionOptions()) -> Model:
    """Load the SavedModel in folder `path`, of TensorFlow 1 or 2, with the graph of exactly these `tags`.

    Unless `options` say `by_load`, or when the model keeps state that calls change (two sessions would not share
    it), there is one session, as in TF Serving.

    Raises ServingError: NOT_FOUND for a missing file or tag, else TensorFlow's code and text.
    """
    loader = saved_model.read(path, tags)
    try:
        return _load_graph(loader, path, tags, options)
    except errors.NotFoundError as error:
        if "Op type not registered" in error.message and op_libraries.load():
            return load(path, tags, options)
        raise ServingError(Code.NOT_FOUND, error.message) from None
    except errors.OpError as error:
        raise ServingError(Code(error.error_code), error.message) from None
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
        raise invalid(f"Cannot load the SavedModel in {path}: {error}") from None


def _load_graph(loader: Any, path: str, tags: Sequence[str], options: SessionOptions) -> Model:
    """Import the graph once; restore variables and run the init ops in every session."""
    meta_graph = loader.get_meta_graph_def_from_tags(list(tags))
    foreign.check(meta_graph)
    imported = ImportedGraph(meta_graph, path)
    plan: dict[Lane, SessionOptions] = {"wide": options}
    if options.by_load:
        plan["wide"] = replace(options, intra_op=CPUS, inter_op=CPUS)
        if CPUS > 1 and not keeps_state(meta_graph):
            plan["narrow"] = replace(options, intra_op=1, inter_op=CPUS)
    sessions = {lane: _session(imported.graph, chosen) for lane, chosen in plan.items()}
    for session in sessions.values():
        imported.start(session)
    return Model(meta_graph, imported, sessions)
