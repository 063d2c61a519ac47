"""The SavedModel: the graph with its two signatures, and the folder that TF Serving loads.

A version folder appears under its base path whole or not at all: it is written beside and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from model import contract
from model.contract import ModelMetadata
from model.network import Network
from model.postprocess import detect
from model.preprocess import preprocess, some
from model.quiet import tf

DTYPES = {"fp32": tf.float32, "bf16": tf.bfloat16}


def build_graph(network: Network, meta: ModelMetadata) -> tuple[tf.Graph, dict[str, tf.TensorSpec]]:
    """A graph with both signatures; returns it with the signatures' SignatureDefs by name."""
    signatures = {}
    graph = tf.Graph()
    with graph.as_default():
        files = tf.compat.v1.placeholder(tf.string, [None], contract.INPUT_IMAGE_BYTES)
        signatures[contract.SIGNATURE] = _signature(
            contract.INPUT_IMAGE_BYTES, files, image_detections(network, files, meta)
        )
        images = tf.compat.v1.placeholder(tf.uint8, [None, None, None, 3], contract.INPUT_IMAGES)
        signatures[contract.SIGNATURE_LETTERBOXED] = _signature(
            contract.INPUT_IMAGES, images, letterboxed_detections(network, images, meta)
        )
    return graph, signatures


def image_detections(network: Network, files: tf.Tensor, meta: ModelMetadata) -> dict[str, tf.Tensor]:
    """files DT_STRING [N], JPEG or PNG -> the outputs of `model.contract`, boxes in 0..1 of each file's image."""
    images, place = preprocess(files, meta.imgsz, meta.max_pixels)  # [N, H, W, 3]
    boxes, scores, classes, count = _detect(network, images, meta)  # boxes in input pixels
    left_top = tf.cast(tf.reverse(place.top_left, [1]), tf.float32)[:, None, :]  # [N, 1, 2]
    size_wh = tf.cast(tf.reverse(place.frame_hw, [1]), tf.float32)[:, None, :]
    corners = (boxes - tf.tile(left_top, [1, 1, 2])) / place.gain[:, None, None] / tf.tile(size_wh, [1, 1, 2])
    return _outputs(corners, scores, classes, count, meta)


def letterboxed_detections(network: Network, images: tf.Tensor, meta: ModelMetadata) -> dict[str, tf.Tensor]:
    """images uint8 [N, H, W, 3], letterboxed -> the same outputs, boxes in 0..1 of H and W."""
    # A model server feeds any shape that a client sends, and of another rank oneDNN's kernels end the process.
    images = some(tf.ensure_shape(images, [None, None, None, 3]))
    height_width = tf.shape(images)[1:3]
    whole = tf.debugging.Assert(
        tf.reduce_all(tf.equal(height_width % contract.STRIDE, 0) & (height_width > 0)),
        ["expected height and width to be positive multiples of", contract.STRIDE, "got", height_width],
    )
    with tf.control_dependencies([whole]):
        images = tf.identity(images)
    boxes, scores, classes, count = _detect(network, images, meta)
    size_wh = tf.cast(tf.reverse(height_width, [0]), tf.float32)
    return _outputs(boxes / tf.tile(size_wh, [2]), scores, classes, count, meta)


def write(
    graph: tf.Graph,
    signatures: dict[str, tf.TensorSpec],
    meta: ModelMetadata,
    warmup: Iterable[bytes],
    folder: Path,
    seal: Callable[[Path], None] | None = None,
) -> None:
    """Write the SavedModel into `folder`, which must not exist; `warmup` are serialised PredictionLogs.

    The folder appears only once it is whole: TF Serving polls its parent for new versions. `seal` is given the
    whole folder before it appears, to sign it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        staged = staging / "model"
        builder = tf.compat.v1.saved_model.Builder(str(staged))
        with tf.compat.v1.Session(graph=graph) as session:
            builder.add_meta_graph_and_variables(
                session, [tf.saved_model.SERVING], signature_def_map=signatures, strip_default_attrs=True
            )
        builder.save()
        extra = staged / "assets.extra"
        extra.mkdir()
        (extra / contract.METADATA_FILE).write_text(json.dumps(meta.to_json(), indent=2) + "\n")
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as records:
            for record in warmup:
                records.write(record)
        if seal is not None:
            seal(staged)
        os.rename(staged, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _detect(network: Network, images: tf.Tensor, meta: ModelMetadata) -> tuple[tf.Tensor, ...]:
    return detect(
        network(images),
        batch=tf.shape(images)[0],
        conf=meta.conf,
        iou=meta.iou,
        max_det=meta.max_det,
        reg_max=network.reg_max,
    )


def _outputs(
    corners: tf.Tensor, scores: tf.Tensor, classes: tf.Tensor, count: tf.Tensor, meta: ModelMetadata
) -> dict[str, tf.Tensor]:
    """corners float32 [N, max_det, 4]: x1, y1, x2, y2 in 0..1 before clipping -> the contract's outputs."""
    real = tf.sequence_mask(count, meta.max_det)  # [N, max_det]
    x1, y1, x2, y2 = tf.unstack(tf.clip_by_value(corners, 0.0, 1.0), axis=-1)
    boxes = tf.where(real[..., None], tf.stack([y1, x1, y2, x2], -1), 0.0)
    names = tf.constant(list(meta.names), tf.string)
    values = {
        contract.OUTPUT_BOXES: boxes,
        contract.OUTPUT_SCORES: scores,
        contract.OUTPUT_CLASSES: tf.cast(classes, tf.float32),
        contract.OUTPUT_CLASS_TEXT: tf.where(real, tf.gather(names, classes), ""),
        contract.OUTPUT_NUM: tf.cast(count, tf.float32),
    }
    return {name: tf.identity(value) for name, value in values.items()}


def _signature(name: str, tensor: tf.Tensor, outputs: dict[str, tf.Tensor]) -> tf.TensorSpec:
    return tf.compat.v1.saved_model.build_signature_def(
        inputs={name: tf.compat.v1.saved_model.build_tensor_info(tensor)},
        outputs={key: tf.compat.v1.saved_model.build_tensor_info(value) for key, value in outputs.items()},
        method_name=tf.saved_model.PREDICT_METHOD_NAME,
    )
