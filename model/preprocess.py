"""Inside the graph: encoded images to the network's letterboxed input.

The geometry is `model.letterbox`'s, image by image; a batch takes the smallest input that holds each of its
images. Errors raised here reach a client of the model server as INVALID_ARGUMENT.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from model.contract import LETTERBOX_GREY, STRIDE
from model.quiet import tf

# How much larger than the network needs it a JPEG decoded at reduced scale still has to be. At exactly the
# size needed, the DCT's own scaling would replace the resampling that the network was trained with; with
# this margin the resampling still happens (docs/model.md has the measured effect on mAP).
REDUCED_MARGIN = 1.5


# OpenCV's fixed-point weights lose this share of a grey level on average, unless they are exact because each
# side shrinks by a whole number. Networks were trained on its numbers; with this 6 % of the values differ, by one.
OPENCV_TRUNCATION = 0.12


@dataclass(frozen=True)
class Placement:
    """N images' places in the network's input, in its pixels unless said; see `model.letterbox.Letterbox`.

    frame_hw int32 [N, 2] in the image's own pixels; gain float32 [N]; resized_hw, top_left int32 [N, 2];
    input_hw int32 [2], the same for all.
    """

    frame_hw: tf.Tensor
    gain: tf.Tensor
    resized_hw: tf.Tensor
    input_hw: tf.Tensor
    top_left: tf.Tensor


def preprocess(files: tf.Tensor, imgsz: tuple[int, int], max_pixels: int) -> tuple[tf.Tensor, Placement]:
    """files DT_STRING [N], JPEG or PNG -> images uint8 [N, H, W, 3] RGB, and their placement.

    H and W are multiples of 32, at most `imgsz` = (height, width).
    """
    files = some(tf.ensure_shape(files, [None]))
    frame_hw = tf.map_fn(
        lambda f: _frame_hw(f, max_pixels), files, fn_output_signature=tf.TensorSpec([2], tf.int32)
    )
    place = _place(frame_hw, imgsz)
    images = tf.map_fn(
        lambda item: _letterbox(_decode(item[0], item[1], item[2]), item[2], item[3], place.input_hw),
        (files, frame_hw, place.resized_hw, place.top_left),
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )
    return images, place


def some(batch: tf.Tensor) -> tf.Tensor:
    """The batch; refused where it is empty."""
    check = tf.debugging.Assert(tf.shape(batch)[0] > 0, ["expected at least one image, got an empty batch"])
    with tf.control_dependencies([check]):
        return tf.identity(batch)


def _frame_hw(file: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """int32 [2]: height and width by the file's header. Refuses what is no image, or claims too many pixels."""
    known = _is_jpeg(file) | _is_png(file)
    check = tf.debugging.Assert(
        known, ["expected a JPEG or PNG file, got bytes that begin with", _head_hex(file)]
    )
    with tf.control_dependencies([check]):
        hw = tf.cond(_is_jpeg(file), lambda: tf.io.extract_jpeg_shape(file)[:2], lambda: _png_hw(file))
    pixels = tf.reduce_prod(tf.cast(hw, tf.int64))
    small = tf.debugging.Assert(
        tf.reduce_all(hw > 0) & (pixels <= max_pixels),
        [
            "expected an image of at least 1 and at most",
            max_pixels,
            "pixels, its header says height, width",
            hw,
        ],
    )
    with tf.control_dependencies([small]):
        return tf.identity(hw)


def _place(frame_hw: tf.Tensor, imgsz: tuple[int, int]) -> Placement:
    """The same numbers as `model.letterbox.fit`; float64, so that sides round as they do in Python."""
    size = tf.cast(frame_hw, tf.float64)
    gain = tf.reduce_min(tf.constant(imgsz, tf.float64) / size, -1)
    resized = tf.maximum(tf.cast(tf.round(size * gain[:, None]), tf.int32), 1)
    ceiled = -(-resized // STRIDE) * STRIDE
    input_hw = tf.reduce_max(ceiled, 0)
    border = tf.cast(input_hw - resized, tf.float64)
    top_left = tf.cast(tf.round(border / 2 - 0.1), tf.int32)
    return Placement(frame_hw, tf.cast(gain, tf.float32), resized, input_hw, top_left)


def _decode(file: tf.Tensor, frame_hw: tf.Tensor, resized_hw: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3] RGB; a JPEG at 1/2, 1/4 or 1/8 of its size where that loses nothing for `resized_hw`."""
    spare = tf.reduce_min(tf.cast(frame_hw, tf.float32) / tf.cast(resized_hw, tf.float32)) / REDUCED_MARGIN
    step = tf.cast(tf.reduce_sum(tf.cast(spare >= [2.0, 4.0, 8.0], tf.int32)), tf.int32)

    def jpeg(ratio: int) -> tf.Tensor:
        # The accurate DCT is what OpenCV and Pillow decode with; TensorFlow's default is the fast one.
        return tf.io.decode_jpeg(file, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    branches = [
        *(partial(jpeg, ratio) for ratio in (1, 2, 4, 8)),
        partial(tf.io.decode_png, file, channels=3),
    ]
    image = tf.switch_case(tf.where(_is_jpeg(file), step, 4), branches)
    image.set_shape([None, None, 3])
    return image


def _letterbox(
    image: tf.Tensor, resized_hw: tf.Tensor, top_left: tf.Tensor, input_hw: tf.Tensor
) -> tf.Tensor:
    """uint8 [h, w, 3] -> uint8 [H, W, 3]: bilinear as OpenCV's INTER_LINEAR, grey around it."""
    resized = tf.raw_ops.ResizeBilinear(
        images=image[None], size=resized_hw, align_corners=False, half_pixel_centers=True
    )[0]
    whole_steps = tf.reduce_all(tf.equal(tf.shape(image)[:2] % resized_hw, 0))
    half = 0.5 - tf.where(whole_steps, 0.0, OPENCV_TRUNCATION)
    after = input_hw - resized_hw - top_left
    paddings = tf.concat([tf.stack([top_left, after], 1), [[0, 0]]], 0)
    return tf.pad(tf.cast(resized + half, tf.uint8), paddings, constant_values=LETTERBOX_GREY)


def _is_jpeg(file: tf.Tensor) -> tf.Tensor:
    return tf.equal(_prefix(file, 3), b"\xff\xd8\xff")


def _is_png(file: tf.Tensor) -> tf.Tensor:
    # Long enough for the header chunk, which ends with the image's size.
    return tf.equal(_prefix(file, 8), b"\x89PNG\r\n\x1a\n") & (tf.strings.length(file) >= 24)


def _prefix(file: tf.Tensor, length: int) -> tf.Tensor:
    return tf.strings.substr(file, 0, tf.minimum(length, tf.strings.length(file)))


def _head_hex(file: tf.Tensor) -> tf.Tensor:
    """The first bytes as text that is safe in an error message."""
    codes = tf.cast(tf.io.decode_raw(_prefix(file, 4), tf.uint8), tf.int32)
    return tf.strings.reduce_join(tf.strings.as_string(codes), separator=" ")


def _png_hw(file: tf.Tensor) -> tf.Tensor:
    """Height and width from a PNG's IHDR: big-endian uint32 at bytes 20 and 16 (PNG specification, 11.2.2)."""
    width_height = tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, little_endian=False)
    return tf.reverse(tf.reshape(width_height, [2]), [0])
