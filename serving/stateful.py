"""Whether calls of a model can change what later calls see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tensorflow.python.framework import op_def_registry

# fmt: off
# Stateful ops (by TensorFlow's registry) that a call may use without changing the model. Restoring variables
# and filling tables happens in every session, so reading them is safe.
_HARMLESS = frozenset({
    "Placeholder", "PlaceholderWithDefault", "VarHandleOp", "VariableV2", "Variable",
    "VarIsInitializedOp", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "HashTable",
    "HashTableV2", "MutableHashTable", "MutableHashTableV2", "LookupTableFind", "LookupTableFindV2",
    "LookupTableSize", "LookupTableSizeV2", "StatefulPartitionedCall", "If", "While", "Case", "Assert",
    "Print", "PrintV2", "Timestamp", "RandomUniform", "RandomUniformInt", "RandomStandardNormal",
    "TruncatedNormal", "RandomShuffle", "Multinomial", "StatefulUniform", "MergeV2Checkpoints", "SaveV2",
    "RestoreV2",
})
# fmt: on


def keeps_state(meta_graph: Any) -> bool:
    """True when a signature reaches an op that could change state: then one session must serve all calls.

    Only what the signatures' outputs need is looked at, so restoring variables does not count. An unknown op
    counts as one that changes state.
    """
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    functions_of = _looks_for_functions()

    @functools.cache
    def changes(op: str) -> bool:
        if op in _HARMLESS or op in functions:
            return False
        registered = op_def_registry.get(op)
        return registered is None or bool(registered.is_stateful)

    start = [
        info.name
        for name, signature in meta_graph.signature_def.items()
        if name != "__saved_model_init_op"
        for info in signature.outputs.values()
    ]
    todo, seen, called = [_node_name(name) for name in start], set(), set()
    while todo:
        name = todo.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        if changes(node.op):
            return True
        called |= functions_of(node)
        todo.extend(_node_name(source) for source in node.input)
    return _functions_change(called, functions, changes, functions_of)


def _functions_change(
    called: set[str],
    functions: Mapping[str, Any],
    changes: Callable[[str], bool],
    functions_of: Callable[[Any], set[str]],
) -> bool:
    """Whether any op in these functions, or those they call, changes state."""
    todo, seen = list(called), set()
    while todo:
        name = todo.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            if changes(node.op):
                return True
            todo.extend(functions_of(node))
    return False


def _looks_for_functions() -> Callable[[Any], set[str]]:
    """What gives the names of the functions that a node may call. It remembers which ops call none: to look through
    all nodes' attributes would hold Python's lock for long while other models answer calls."""

    @functools.cache
    def calls(op: str) -> bool:
        registered = op_def_registry.get(op)
        return registered is None or any("func" in attr.type for attr in registered.attr)

    def functions_of(node: Any) -> set[str]:
        names = {node.op}
        if calls(node.op):
            for attr in node.attr.values():
                names.add(attr.func.name)
                names |= {func.name for func in attr.list.func}
        return names - {""}

    return functions_of


def _node_name(tensor: str) -> str:
    """`^scope/op` or `scope/op:0` to `scope/op`."""
    return tensor.removeprefix("^").partition(":")[0]
