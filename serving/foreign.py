"""Ops that no served model may have: those that call Python functions of this process.

TF Serving's binary has no kernels for them. Here TensorFlow's Python package has, and a model that guesses a
function's token would reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serving.errors import Code, ServingError

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def check(meta_graph: Any) -> None:
    """Raise ServingError when the graph, or any function in it, has an op that calls Python."""
    for node in _nodes(meta_graph.graph_def):
        if node.op in PYTHON_OPS:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"No OpKernel was registered to support Op '{node.op}' used by {{{{node {node.name}}}}}: a served "
                "model cannot call Python",
            )


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
