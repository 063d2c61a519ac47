"""Small SavedModels of every kind, made by TensorFlow itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
SPEC = tf.TensorSpec


class Affine(tf.Module):  # type: ignore[misc]
    """y = scale * x + 2, with variables."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = tf.Variable(scale)
        self.offset = tf.Variable(2.0)

    @tf.function(input_signature=[SPEC([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.scale * x + self.offset}


class Strings(tf.Module):  # type: ignore[misc]
    """Strings in, strings out; JPEG files in, their heights out."""

    @tf.function(input_signature=[SPEC(None, tf.string, name="s")])  # type: ignore[untyped-decorator]
    def echo(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"s": tf.identity(s), "s_bytes": tf.identity(s), "length": tf.strings.length(s)}

    @tf.function(input_signature=[SPEC([None], tf.string, name="jpeg")])  # type: ignore[untyped-decorator]
    def heights(self, jpeg: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"h": tf.map_fn(lambda one: tf.shape(tf.io.decode_jpeg(one))[0], jpeg, tf.int32)}

    @tf.function(input_signature=[SPEC([], tf.float64, name="seconds")])  # type: ignore[untyped-decorator]
    def slow(self, seconds: tf.Tensor) -> dict[str, tf.Tensor]:
        end = tf.timestamp() + seconds
        count = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: [i + 1], [tf.constant(0, tf.int64)])
        return {"count": count[0]}


class Counter(tf.Module):  # type: ignore[misc]
    """Each call returns how many calls there were: state that two sessions would not share."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[SPEC([], tf.int64, name="step")])  # type: ignore[untyped-decorator]
    def serve(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"calls": self.calls.assign_add(step)}


def affine(folder: Path, scale: float = 0.5) -> Path:
    module = Affine(scale)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def strings(folder: Path) -> Path:
    module = Strings()
    signatures = {"serving_default": module.echo, "heights": module.heights, "slow": module.slow}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def counter(folder: Path) -> Path:
    module = Counter()
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def tensorflow_1(folder: Path) -> Path:
    """TF1 style: a variable, a lookup table filled from an asset, two signatures, a default for one input."""
    names = folder.parent / "names.txt"
    folder.parent.mkdir(parents=True, exist_ok=True)
    names.write_text("cat\ndog\n")
    with tf.Graph().as_default(), v1.Session() as session:
        a = v1.placeholder(tf.float32, [None, 2], "a")
        b = v1.placeholder(tf.float32, [None, 2], "b")
        weight = v1.get_variable("weight", initializer=3.0, use_resource=False)
        ids = v1.placeholder(tf.int64, [None], "ids")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset := tf.constant(str(names)))
        init = tf.lookup.TextFileInitializer(
            asset,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
        )
        table = tf.lookup.StaticHashTable(init, "none")
        tensors = {
            "add": ({"a": a, "b": b}, {"sum": a + b * weight, "scalar": tf.reduce_sum(a), "rows": a[:1]}),
            "serving_default": ({"ids": ids}, {"names": table.lookup(ids)}),
        }
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map={
                name: v1.saved_model.predict_signature_def(inputs, outputs)
                for name, (inputs, outputs) in tensors.items()
            },
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    _set_default(folder / "saved_model.pb")
    return folder


def _set_default(file: Path) -> None:
    """Give signature `add` a default for its input b."""
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    defaults = model.meta_graphs[0].signature_def["add"].defaults
    defaults["b"].CopyFrom(tf.make_tensor_proto([[1.0, 1.0]]))
    file.write_bytes(model.SerializeToString())


def half_plus(folder: Path, constant: float = 2.0) -> Path:
    """TF1 style: y = x / 2 + `constant`, served for Predict, Classify and Regress, Examples parsed in the graph."""
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("a", initializer=0.5, use_resource=False)
        offset = v1.get_variable("b", initializer=constant, use_resource=False)
        examples = v1.placeholder(tf.string, [None], "tf_example")
        parsed = v1.io.parse_example(examples, {"x": v1.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], "x")
        y = tf.add(half * x, offset, "y")
        names = tf.fill(tf.shape(y), "label", "names")

        def signature(inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor], method: str) -> object:
            infos = [
                {k: v1.saved_model.build_tensor_info(t) for k, t in m.items()} for m in (inputs, outputs)
            ]
            return v1.saved_model.build_signature_def(*infos, f"tensorflow/serving/{method}")

        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
                "classify_x_to_y": signature({"inputs": examples}, {"scores": y}, "classify"),
                "classify_named": signature(
                    {"inputs": examples}, {"classes": names, "scores": y}, "classify"
                ),
                "regress_x_to_y": signature({"inputs": examples}, {"outputs": y}, "regress"),
                "regress_x": signature({"inputs": x}, {"outputs": y}, "regress"),
                "two_inputs": signature({"inputs": x, "more": examples}, {"outputs": y}, "regress"),
                "wide": signature({"inputs": examples}, {"outputs": tf.concat([y, y], 1)}, "regress"),
            },
        )
        builder.save()
    return folder


def jpeg(height: int) -> bytes:
    """A grey JPEG of 8 columns."""
    return bytes(tf.io.encode_jpeg(tf.zeros([height, 8, 3], tf.uint8)).numpy())


def keras(folder: Path) -> Path:
    """A Keras model, its input of [batch, 1] doubled."""
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((1,), name="x"), layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[2.0]], np.float32)])
    model.export(str(folder), verbose=False)
    return folder
