"""Small SavedModels of every kind, made by TensorFlow itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.lite.python import schema_py_generated as schema

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

    @tf.function(input_signature=[SPEC([None], tf.string, name="s")])  # type: ignore[untyped-decorator]
    def number(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": tf.strings.to_number(s)}


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
    signatures = {
        "serving_default": module.echo,
        "heights": module.heights,
        "slow": module.slow,
        "number": module.number,
    }
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


def odd_method(folder: Path) -> Path:
    """As half_plus, but its default signature's method_name is none of TF Serving's."""
    file = half_plus(folder) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].signature_def["serving_default"].method_name = "odd"
    file.write_bytes(model.SerializeToString())
    return folder


def quantised(folder: Path) -> Path:
    """y = x, for 8-bit quantised numbers."""
    module = tf.Module()
    spec = SPEC([None], tf.qint8, name="x")
    module.f = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.f)
    return folder


def with_warm_up(folder: Path, records: Sequence[bytes]) -> Path:
    """Put records, each a serialized PredictionLog, where a server looks for warm-up requests."""
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
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


def lite_half_plus_two(
    folder: Path,
    signature: str = "",
    tensors: tuple[str, str] = ("x:0", "y"),
    metadata: bytes | None = None,
) -> Path:
    """model.tflite: y = x / 2 + 2, its tensors named x and y.

    With `signature`, a SignatureDef of that name for `tensors` is written where TF Serving reads it; `metadata`
    puts other bytes there.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [1], "x")
        content = v1.lite.TFLiteConverter.from_session(session, [x], [tf.add(x * 0.5, 2.0, "y")]).convert()
    if signature:
        infos = {
            name: meta_graph_pb2.TensorInfo(name=tensor) for name, tensor in zip("xy", tensors, strict=True)
        }
        definition = meta_graph_pb2.SignatureDef(inputs={"x": infos["x"]}, outputs={"y": infos["y"]})
        builder = flexbuffers.Builder()
        with builder.Map():
            builder.Key(signature)
            # `String` takes text only, but C++ writes any bytes as a string.
            builder._WriteBlob(definition.SerializeToString(), True, flexbuffers.Type.STRING)
        metadata = bytes(builder.Finish())
    if metadata is not None:
        content = _with_metadata(content, metadata)
    return _write_lite(folder, content)


def _with_metadata(content: bytes, value: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(value)
    entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _write_lite(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    return folder


def lite_strings(folder: Path) -> Path:
    """model.tflite: the first of the strings, twice."""
    first = tf.function(lambda s: tf.gather(s, [0, 0]), input_signature=[SPEC([None], tf.string, name="s")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([first.get_concrete_function()])
    return _write_lite(folder, converter.convert())


def lite_reads_file(folder: Path) -> Path:
    """model.tflite with TensorFlow's own op ReadFile."""
    read = tf.function(tf.io.read_file, input_signature=[SPEC([], tf.string, name="name")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([read.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    return _write_lite(folder, converter.convert())


def half_plus_two_tensorflow_2(folder: Path) -> Path:
    """TF2 style: as half_plus, its signatures' method_name all Predict's, as tf.saved_model.save writes them."""

    class Half(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = tf.Variable(0.5), tf.Variable(2.0)

        def of(self, x: tf.Tensor) -> tf.Tensor:
            return self.a * x + self.b

        def parsed(self, examples: tf.Tensor) -> tf.Tensor:
            return self.of(tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"])

        @tf.function(input_signature=[SPEC([None, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": self.of(x)}

        @tf.function(input_signature=[SPEC([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
        def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"scores": self.parsed(inputs)}

        @tf.function(input_signature=[SPEC([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
        def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": self.parsed(inputs)}

    module = Half()
    signatures = {
        "serving_default": module.predict,
        "classify_x_to_y": module.classify,
        "regress_x_to_y": module.regress,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def unknown_rank(folder: Path) -> Path:
    """Two signatures of an input whose rank is not known: 6 * x, and a constant."""
    root = tf.train.Checkpoint()
    root.v1, root.v2 = tf.Variable(3.0), tf.Variable(2.0)
    spec = SPEC(None, tf.float32, name="x")
    root.f = tf.function(lambda x: {"y": root.v1 * root.v2 * x}, input_signature=[spec])
    root.g = tf.function(lambda x: {"y": 2.0}, input_signature=[spec])
    signatures = {"serving_default": root.f, "custom_signature_key": root.g}
    tf.saved_model.save(root, str(folder), signatures=signatures)
    return folder


def keras_saved(folder: Path) -> Path:
    """A Keras model without weights, its input doubled, written by tf.saved_model.save instead of Keras' export.

    Without weights: Keras 3 writes a graph whose restore op fills a copy of them, which no C++ loader can serve.
    """
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((1,), name="x"), layers.Lambda(lambda x: 2 * x, name="y")])
    tf.saved_model.save(model, str(folder))
    return folder


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]).scope():
    module = tf.Module()
    module.scale = tf.Variable(2.0)
spec = tf.TensorSpec([None, 1], tf.float32, name="x")
module.f = tf.function(lambda x: {"y": module.scale * x}, input_signature=[spec])
tf.saved_model.save(module, sys.argv[1], signatures=module.f)
"""


def mirrored(folder: Path) -> Path:
    """y = 2 * x, its variable on two devices when it was saved. Made by a process of its own, for its devices."""
    subprocess.run(
        [sys.executable, "-c", MIRRORED, str(folder)], check=True, capture_output=True, timeout=100
    )
    return folder
