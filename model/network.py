"""YOLOv8's network as a TensorFlow graph, built from Ultralytics' fused PyTorch module.

NHWC, weights as constants: TensorFlow's oneDNN kernels want that layout, fold the constants once and
fuse each convolution with its bias and SiLU (which is why SiLU is spelled x * sigmoid(x) here).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.quiet import tf

PATCHES = 8  # patches of the head are convolved in multiples of so many


class UnsupportedModelError(ValueError):
    """The weights hold something else than a YOLOv8 detection model."""


@dataclass(frozen=True)
class ScaleFeatures:
    """What the head gives at one of its strides, before its last layer's box half.

    `box_at` takes places int64 [K, 3] (image, row, column) and adds to the graph what the box half has there, [K, Cb];
    that and `cls` [N, H, W, Cc] are the inputs of the last 1x1 convolutions, `logits` [N, H, W, classes] what the class
    half's gives; all in the network's dtype. The last layer's weights in float32: `box_kernel` [Cb, 4 * reg_max],
    `cls_kernel` [Cc, classes] and their biases.
    Boxes are worth computing only where a class is likely, so that is left to `model.postprocess`.
    """

    stride: int
    box_at: Callable[[tf.Tensor], tf.Tensor]
    cls: tf.Tensor
    logits: tf.Tensor
    box_kernel: tf.Tensor
    box_bias: tf.Tensor
    cls_kernel: tf.Tensor
    cls_bias: tf.Tensor


class Network:
    """The network of one set of weights; calling it adds it to the current graph.

    Constants are made once for each graph, so that two signatures share them.
    """

    def __init__(self, module: Any, dtype: tf.DType) -> None:
        """`module`: a fused `ultralytics.nn.tasks.DetectionModel` in eval mode; `dtype`: tf.float32 or tf.bfloat16.

        Raises UnsupportedModelError where a layer is none of YOLOv8's.
        """
        head = module.model[-1]
        kinds = [type(layer).__name__ for layer in module.model]
        unknown = sorted(set(kinds[:-1]) - {"Conv", "C2f", "SPPF", "Upsample", "Concat"})
        if unknown or kinds[-1] != "Detect" or not _is_yolov8_head(head):
            found = ", ".join(unknown or kinds[-1:])
            raise UnsupportedModelError(f"expected a YOLOv8 detection model, got one with {found}")
        self._layers = list(module.model)
        self._head = head
        self._dtype = dtype
        self._constants: dict[tuple[int, str], tf.Tensor] = {}
        self.class_count = int(head.nc)
        self.reg_max = int(head.reg_max)
        self.strides = tuple(int(s) for s in head.stride)

    def __call__(self, images: tf.Tensor) -> list[ScaleFeatures]:
        """images uint8 [N, H, W, 3] RGB, H and W multiples of 32 -> the head's features, one for each stride."""
        build: dict[str, Callable[[Any, Any], tf.Tensor]] = {
            "Conv": self._conv,
            "C2f": self._c2f,
            "SPPF": self._sppf,
            "Upsample": self._upsample,
            "Concat": lambda xs, _: tf.concat(xs, -1),
        }
        x = tf.cast(images, self._dtype)  # 0..255: whole numbers, which bf16 holds exactly
        outputs: list[tf.Tensor] = []
        for layer in self._layers[:-1]:
            x = build[type(layer).__name__](_inputs(layer.f, x, outputs), layer)
            outputs.append(x)
        return [self._detect(i, outputs[source]) for i, source in enumerate(self._head.f)]

    def _conv(self, x: tf.Tensor, layer: Any) -> tf.Tensor:
        """Ultralytics' Conv: convolution, bias (its batch norm is folded in), SiLU."""
        return _silu(self._conv2d(x, layer.conv))

    def _conv2d(self, x: tf.Tensor, conv: Any, channels: slice = slice(None), pad: bool = True) -> tf.Tensor:
        """A torch Conv2d, or some of its output channels, or without its padding."""
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        edge = conv.padding[0] if pad else 0
        # "SAME" would pad a stride of 2 at the far side only; torch pads both.
        padding = "VALID" if edge == 0 else [[0, 0], [edge, edge], [edge, edge], [0, 0]]
        if stride == 1 and pad and edge == kernel // 2:
            padding = "SAME"
        # The network was trained on 0..1; dividing the first layer's weights is exact enough, and free.
        scale = 1 / 255 if conv is self._layers[0].conv else 1.0
        weights = self._constant(
            conv, f"kernel{channels}", lambda: conv.weight[channels].permute(2, 3, 1, 0) * scale, self._dtype
        )
        bias = self._constant(conv, f"bias{channels}", lambda: conv.bias[channels], self._dtype)
        return tf.nn.bias_add(tf.nn.conv2d(x, weights, stride, padding), bias)

    def _c2f(self, x: tf.Tensor, layer: Any) -> tf.Tensor:
        # Two convolutions instead of one and a split: a split copies, a convolution has to write anyway.
        half = int(layer.c)
        parts = [_silu(self._conv2d(x, layer.cv1.conv, s)) for s in (slice(0, half), slice(half, None))]
        y = parts[-1]
        for bottleneck in layer.m:
            z = self._conv(self._conv(y, bottleneck.cv1), bottleneck.cv2)
            y = y + z if bottleneck.add else z
            parts.append(y)
        return self._conv(tf.concat(parts, -1), layer.cv2)

    def _sppf(self, x: tf.Tensor, layer: Any) -> tf.Tensor:
        parts = [self._conv(x, layer.cv1)]
        for _ in range(3):
            parts.append(tf.nn.max_pool2d(parts[-1], layer.m.kernel_size, 1, "SAME"))
        return self._conv(tf.concat(parts, -1), layer.cv2)

    def _upsample(self, x: tf.Tensor, layer: Any) -> tf.Tensor:
        """Nearest, by two: each pixel becomes 2x2."""
        n, h, w = tf.unstack(tf.shape(x)[:3])
        channels = x.shape[3]
        doubled = tf.tile(tf.reshape(x, [n, h, 1, w, 1, channels]), [1, 1, 2, 1, 2, 1])
        return tf.reshape(doubled, [n, 2 * h, 2 * w, channels])

    def _detect(self, scale: int, x: tf.Tensor) -> ScaleFeatures:
        box_layers, cls_layers = self._head.cv2[scale], self._head.cv3[scale]
        cls = self._conv(self._conv(x, cls_layers[0]), cls_layers[1])
        logits = self._conv2d(cls, cls_layers[2])
        box_kernel, box_bias = self._last_layer(box_layers[2])
        cls_kernel, cls_bias = self._last_layer(cls_layers[2])
        return ScaleFeatures(
            self.strides[scale], partial(self._box_at, x, box_layers),
            cls, logits, box_kernel, box_bias, cls_kernel, cls_bias,
        )  # fmt: skip

    def _box_at(self, x: tf.Tensor, layers: Any, places: tf.Tensor) -> tf.Tensor:
        """The box half's two convolutions, [K, Cb], where they are asked for: each place sees 5x5 of `x`."""

        def everywhere() -> tf.Tensor:
            return tf.gather_nd(self._conv(self._conv(x, layers[0]), layers[1]), places)

        # A place costs nine of the first convolution and one of the second, so there may be a fifth of all.
        count = tf.shape(places)[0]
        crowded = 5 * count > tf.reduce_prod(tf.shape(x)[:3])
        patches = self._box_patches(x, layers, places[: tf.where(crowded, 0, count)])
        # Only what is rare stands in a branch: weights are no constants there.
        return tf.concat([patches, tf.cond(crowded, everywhere, lambda: patches[:0])], 0)

    def _box_patches(self, x: tf.Tensor, layers: Any, places: tf.Tensor) -> tf.Tensor:
        """[K, Cb]: the same from patches of 5x5, each a small image of its own."""
        count = tf.shape(places)[0]
        # oneDNN makes code for each new shape, so there are not many; and TensorFlow gives none at all a wrong shape.
        size = (count // PATCHES + 1) * PATCHES
        filled = tf.pad(places, [[0, size - count], [0, 0]])
        across = tf.range(5, dtype=tf.int64)
        rows = filled[:, 1, None] + across  # [K, 5], of x with a border of two
        columns = filled[:, 2, None] + across
        height, width = tf.unstack(tf.shape(x, tf.int64)[1:3])
        first = (filled[:, 0, None] * (height + 4) + rows) * (width + 4)
        index = first[:, :, None] + columns[:, None, :]  # [K, 5, 5]
        flat = tf.reshape(tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]]), [-1, x.shape[3]])
        inner = _silu(self._conv2d(tf.gather(flat, index), layers[0].conv, pad=False))  # [K, 3, 3, C]
        # Beyond the border the second convolution sees zeros, not what the first would make of zeros.
        row_in = (rows[:, 1:4] >= 2) & (rows[:, 1:4] < height + 2)
        column_in = (columns[:, 1:4] >= 2) & (columns[:, 1:4] < width + 2)
        inside = tf.cast(row_in[:, :, None] & column_in[:, None, :], self._dtype)[..., None]
        outer = _silu(self._conv2d(inner * inside, layers[1].conv, pad=False))  # [K, 1, 1, Cb]
        return outer[:count, 0, 0]

    def _last_layer(self, conv: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """A 1x1 convolution's weights as a float32 matrix [in, out] and bias [out]."""
        return (
            self._constant(conv, "matrix", lambda: conv.weight[:, :, 0, 0].T, tf.float32),
            self._constant(conv, "vector", lambda: conv.bias, tf.float32),
        )

    def _constant(self, owner: Any, part: str, value: Callable[[], Any], dtype: tf.DType) -> tf.Tensor:
        key = (id(owner), part)
        if key not in self._constants:
            array: NDArray[np.float32] = value().detach().numpy()
            with tf.init_scope(), tf.control_dependencies(None):
                self._constants[key] = tf.constant(array, dtype)
        return self._constants[key]


def _silu(x: tf.Tensor) -> tf.Tensor:
    return x * tf.sigmoid(x)


def _inputs(sources: int | Sequence[int], previous: tf.Tensor, outputs: list[tf.Tensor]) -> Any:
    """What a layer takes, as Ultralytics numbers it: -1 is the layer before."""
    if isinstance(sources, int):
        return previous if sources == -1 else outputs[sources]
    return [previous if i == -1 else outputs[i] for i in sources]


def _is_yolov8_head(head: Any) -> bool:
    """Whether the class branches are YOLOv8's plain convolutions (YOLO11 has depthwise ones)."""
    branches = [*head.cv2, *head.cv3]
    kinds = {tuple(type(layer).__name__ for layer in branch) for branch in branches}
    return kinds == {("Conv", "Conv", "Conv2d")} and not getattr(head, "end2end", False)
