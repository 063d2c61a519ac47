"""A SavedModel's graph in TensorFlow, as TF Serving's C++ has it: without Python's own object for each op.

To make those objects takes most of the time of a load, 0.15 s for a YOLOv8n, with Python's lock held, which the calls
of the model that serves meanwhile need; and nobody uses them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import c_api_util, importer, ops
from tensorflow.python.lib.io import file_io
from tensorflow.python.saved_model import constants, loader_impl

from serving.lanes import wait_for_a_pause


class ImportedGraph:
    """The graph of `meta_graph` (a MetaGraphDef) from the SavedModel in folder `path`.

    Raises tf.errors.OpError with TensorFlow's words where the graph is not valid.
    """

    def __init__(self, meta_graph: Any, path: str) -> None:
        self.graph = ops.Graph()
        self._meta_graph, self.path = meta_graph, path
        self._assets: Mapping[str, bytes] = loader_impl.get_asset_tensors(path, meta_graph)
        self._operations = self._import()

    def output(self, tensor: str) -> Any:
        """The TF_Output of `op:index`. Raises KeyError where the graph has no such op."""
        name, _, index = tensor.partition(":")
        output = pywrap_tf_session.TF_Output()
        output.oper, output.index = self._operations[name], int(index or 0)
        return output

    def start(self, session: Any) -> None:
        """Restore the variables in `session` and run what initialises it, as TF Serving's loader does.

        Raises tf.errors.OpError, KeyError and ValueError where the SavedModel's parts do not fit.
        """
        feed = {self.output(name): _scalar(file) for name, file in self._assets.items()}
        saver = self._meta_graph.saver_def
        prefix = os.path.join(self.path, constants.VARIABLES_DIRECTORY, constants.VARIABLES_FILENAME)
        if saver.restore_op_name and file_io.file_exists_v2(f"{prefix}.index"):
            variables = {self.output(saver.filename_tensor_name): _scalar(prefix.encode())}
            self._run(session, {**feed, **variables}, saver.restore_op_name)
        for name in _init_ops(self._meta_graph):
            self._run(session, feed, name)

    def _run(self, session: Any, feed: Mapping[Any, NDArray[Any]], name: str) -> None:
        operation = self._operations[name.partition(":")[0]]
        pywrap_tf_session.TF_SessionRun_wrapper(session._session, None, feed, [], [operation], None)

    def _import(self) -> Mapping[str, Any]:
        """Import the graph; TF_Operation by name of each op that is called by name."""
        graph_def, meta = self._meta_graph.graph_def, self._meta_graph.meta_info_def
        if meta.HasField("stripped_op_list"):  # of a newer TensorFlow: attributes that ours does not know
            importer._RemoveDefaultAttrs(meta.stripped_op_list, graph_def)
        there = {node.name for node in graph_def.node}
        names = sorted({name.partition(":")[0] for name in self._names()} & there)
        scoped = c_api_util.ScopedTFImportGraphDefOptions()
        options = scoped.options
        pywrap_tf_session.TF_ImportGraphDefOptionsSetPrefix(options, "")
        pywrap_tf_session.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options, True)
        for name in names:
            pywrap_tf_session.TF_ImportGraphDefOptionsAddReturnOperation(options, name)
        buffer = pywrap_tf_session.TF_NewBufferFromString(graph_def.SerializeToString())
        wait_for_a_pause()  # the next line takes 30 ms for a YOLOv8n, with Python's lock held
        try:
            with self.graph._c_graph.get() as c_graph:
                found = c_api_util.ScopedTFImportGraphDefResults(
                    pywrap_tf_session.TF_GraphImportGraphDefWithResults(c_graph, buffer, options)
                )
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)
        operations = pywrap_tf_session.TF_ImportGraphDefResultsReturnOperations(found.results)
        self.graph.finalize()
        return dict(zip(names, operations, strict=True))

    def _names(self) -> Iterator[str]:
        """Of all tensors and ops that the SavedModel names."""
        for signature in self._meta_graph.signature_def.values():
            yield from (
                info.name for infos in (signature.inputs, signature.outputs) for info in infos.values()
            )
        yield from self._assets
        yield from (
            self._meta_graph.saver_def.filename_tensor_name,
            self._meta_graph.saver_def.restore_op_name,
        )
        yield from _init_ops(self._meta_graph)


def _scalar(value: bytes) -> NDArray[Any]:
    """A string tensor without dimensions."""
    return np.array(value, object)


def _init_ops(meta_graph: Any) -> list[str]:
    """The op that initialises the graph, or none: of TensorFlow 2, of 1, and of its first SavedModels.

    Raises ValueError where a collection of such ops has several.
    """
    signature = meta_graph.signature_def.get(constants.INIT_OP_SIGNATURE_KEY)
    if signature is not None:
        return [signature.outputs[constants.INIT_OP_SIGNATURE_KEY].name]
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            names = list(meta_graph.collection_def[key].node_list.value)
            if len(names) != 1:
                raise ValueError(f"Expected exactly one SavedModel init op. Found {len(names)}: {names}.")
            return names
    return []
