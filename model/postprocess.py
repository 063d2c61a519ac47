"""Inside the graph: the head's features to detections.

Only where a class is likely is a box computed at all: of 8,400 places a street scene has some tens. The last
layer of these few runs in float32 whatever the network's precision, so bf16 does not quantise scores and edges.
The rules are those of Ultralytics' `non_max_suppression` (utils/nms.py): best class only, class-aware.
"""

from __future__ import annotations

import math

from model.network import ScaleFeatures
from model.quiet import tf

# A class logit in bf16 may be wrong by some hundredths; such places are kept here and judged again in float32.
BF16_LOGIT_MARGIN = 0.25


def candidates(
    scale: ScaleFeatures, conf: float, reg_max: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The places of one scale whose best class scores above `conf`.

    Returns image int64 [K] (index in the batch), boxes float32 [K, 4] (x1, y1, x2, y2 in input pixels),
    scores float32 [K] in 0..1, classes int64 [K].
    """
    margin = 0.0 if scale.logits.dtype == tf.float32 else BF16_LOGIT_MARGIN
    likely = math.log(conf / (1 - conf)) - margin
    best = tf.reduce_max(scale.logits, -1)  # [N, H, W]
    places = tf.where(best > tf.cast(likely, best.dtype))  # [K, 3]: image, row, column

    logits = _last_layer(tf.gather_nd(scale.cls, places), scale.cls_kernel, scale.cls_bias)  # [K, classes]
    scores = tf.sigmoid(tf.reduce_max(logits, -1))
    keep = tf.where(scores > conf)[:, 0]
    places, scores, logits = (tf.gather(t, keep) for t in (places, scores, logits))

    bins = _last_layer(scale.box_at(places), scale.box_kernel, scale.box_bias)  # [K, 4 * reg_max]
    # Distribution focal loss: each edge's distance is the mean over its bins (Li et al., 2020, eq. 3).
    shares = tf.nn.softmax(tf.reshape(bins, [-1, 4, reg_max]), -1)
    edges = tf.reduce_sum(
        shares * tf.range(reg_max, dtype=tf.float32), -1
    )  # [K, 4]: left, top, right, bottom
    centres = tf.cast(tf.reverse(places[:, 1:], [1]), tf.float32) + 0.5  # [K, 2]: x, y
    boxes = tf.concat([centres - edges[:, :2], centres + edges[:, 2:]], 1) * scale.stride
    return places[:, 0], boxes, scores, tf.argmax(logits, -1)


def detect(
    scales: list[ScaleFeatures], *, batch: tf.Tensor, conf: float, iou: float, max_det: int, reg_max: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Detections by falling score: boxes float32 [N, max_det, 4] (x1, y1, x2, y2 in input pixels), scores float32
    [N, max_det], classes int64 [N, max_det], count int32 [N]. Rows from `count` on are zero."""
    image, boxes, scores, classes = (
        tf.concat(parts, 0) for parts in zip(*(candidates(s, conf, reg_max) for s in scales), strict=True)
    )
    # Boxes of different classes never overlap once each class has a plane of its own.
    span = tf.maximum(tf.reduce_max(tf.abs(boxes)), 1.0) * 2
    planes = boxes + (tf.cast(classes, tf.float32) * span)[:, None]

    def one(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        mine = tf.where(tf.equal(image, index))[:, 0]
        kept = tf.image.non_max_suppression(tf.gather(planes, mine), tf.gather(scores, mine), max_det, iou)
        chosen = tf.gather(mine, kept)
        count = tf.shape(chosen)[0]
        fill = max_det - count
        return (
            tf.ensure_shape(tf.pad(tf.gather(boxes, chosen), [[0, fill], [0, 0]]), [max_det, 4]),
            tf.ensure_shape(tf.pad(tf.gather(scores, chosen), [[0, fill]]), [max_det]),
            tf.ensure_shape(tf.pad(tf.gather(classes, chosen), [[0, fill]]), [max_det]),
            count,
        )

    spec = (
        tf.TensorSpec([max_det, 4], tf.float32),
        tf.TensorSpec([max_det], tf.float32),
        tf.TensorSpec([max_det], tf.int64),
        tf.TensorSpec([], tf.int32),
    )
    result: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor] = tf.map_fn(
        one, tf.range(batch, dtype=tf.int64), fn_output_signature=spec
    )
    return result


def _last_layer(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.matmul(tf.cast(features, tf.float32), kernel) + bias
