"""Graphs come in whole, from all kinds of SavedModels, and what does not fit is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving import sessions
from serving.errors import Code, ServingError


class Words(tf.Module):  # type: ignore[misc]
    """A table that is filled from a file when the model is loaded, and a variable."""

    def __init__(self, words: Path) -> None:
        super().__init__()
        self.file, self.first = tf.saved_model.Asset(str(words)), tf.Variable(1, dtype=tf.int64)
        whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        init = tf.lookup.TextFileInitializer(self.file, tf.int64, line, tf.string, whole)
        self.table = tf.lookup.StaticHashTable(init, "none")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])  # type: ignore[untyped-decorator]
    def words(self, ids: Any) -> dict[str, Any]:
        return {"words": self.table.lookup(ids + self.first)}


def test_a_table_a_variable_and_an_asset_of_tensorflow_2(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("zero\none\ntwo\n")
    module = Words(tmp_path / "words.txt")
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.words)
    (tmp_path / "words.txt").unlink()
    shutil.move(tmp_path / "saved", tmp_path / "moved")  # the asset lies elsewhere now
    found = sessions.load(str(tmp_path / "moved")).run("serving_default", {"ids": np.array([0, 1, 5])})
    assert found["words"].tolist() == [b"one", b"two", b"none"]


def changed(model_dir: Path, folder: Path, change: Callable[[Any], None]) -> str:
    """A copy of a model whose MetaGraphDef was changed."""
    shutil.copytree(model_dir / "affine" / "1", folder)
    model, file = saved_model_pb2.SavedModel(), folder / "saved_model.pb"
    model.ParseFromString(file.read_bytes())
    change(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())
    return str(folder)


@pytest.mark.parametrize("name", ["nowhere:0", "", "nowhere"])
def test_a_signatures_tensor_that_the_graph_lacks_is_told_when_it_is_called(
    model_dir: Path, tmp_path: Path, name: str
) -> None:
    def change(meta_graph: Any) -> None:
        meta_graph.signature_def["serving_default"].outputs["y"].name = name

    model = sessions.load(changed(model_dir, tmp_path / "1", change))
    with pytest.raises(ServingError, match="names a tensor that the graph does not have") as caught:
        model.run("serving_default", {"x": np.array([1.0], np.float32)})
    assert caught.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("index", ["7", "-1", "x"])
def test_an_output_that_its_op_lacks_is_an_error(model_dir: Path, tmp_path: Path, index: str) -> None:
    def change(meta_graph: Any) -> None:
        output = meta_graph.signature_def["serving_default"].outputs["y"]
        output.name = f"{output.name.partition(':')[0]}:{index}"

    model = sessions.load(changed(model_dir, tmp_path / "1", change))
    with pytest.raises(ServingError):
        model.run("serving_default", {"x": np.array([1.0], np.float32)})


def test_several_ops_to_initialise_with_are_refused(model_dir: Path, tmp_path: Path) -> None:
    def change(meta_graph: Any) -> None:
        del meta_graph.signature_def["__saved_model_init_op"]
        meta_graph.collection_def["saved_model_main_op"].node_list.value.append("another")

    with pytest.raises(ServingError, match="Expected exactly one SavedModel init op"):
        sessions.load(changed(model_dir, tmp_path / "1", change))


def test_a_graph_that_is_not_valid_is_refused_in_tensorflows_words(model_dir: Path, tmp_path: Path) -> None:
    def change(meta_graph: Any) -> None:
        meta_graph.graph_def.node.add(name="odd", op="Identity", input=["nowhere"])

    with pytest.raises(ServingError, match="nowhere") as caught:
        sessions.load(changed(model_dir, tmp_path / "1", change))
    assert caught.value.code == Code.INVALID_ARGUMENT
