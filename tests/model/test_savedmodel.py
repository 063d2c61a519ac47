"""The exported graph from bytes to boxes: what it refuses, what it keeps apart, what it finds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model import contract, weights
from model.contract import ModelMetadata
from model.export import tool_versions
from model.network import Network
from model.quiet import tf
from model.savedmodel import build_graph
from model.street.dataset import validation_set

MAX_DET = 20


class Graph:
    """Both signatures of a graph, to call."""

    def __init__(self, meta: ModelMetadata, module: Any) -> None:
        graph, signatures = build_graph(Network(module, tf.float32), meta)
        self.session = tf.compat.v1.Session(graph=graph)
        self.signatures = signatures

    def files(self, *files: bytes) -> dict[str, NDArray[Any]]:
        return self._run(contract.SIGNATURE, contract.INPUT_IMAGE_BYTES, list(files))

    def images(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return self._run(contract.SIGNATURE_LETTERBOXED, contract.INPUT_IMAGES, images)

    def _run(self, signature: str, name: str, value: Any) -> dict[str, NDArray[Any]]:
        found = self.signatures[signature]
        outputs = {key: info.name for key, info in found.outputs.items()}
        result: dict[str, NDArray[Any]] = self.session.run(outputs, {found.inputs[name].name: value})
        return result


@pytest.fixture(scope="module")
def demo() -> weights.Weights:
    return weights.load(weights.locate("demo"))


@pytest.fixture(scope="module")
def meta(demo: weights.Weights) -> ModelMetadata:
    return ModelMetadata(
        weights=demo.name, weights_sha256=demo.sha256, names=demo.class_names, imgsz=(320, 320), precision="fp32",
        conf=0.25, iou=0.7, max_det=MAX_DET, max_pixels=3_000_000, tools=tool_versions(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def graph(demo: weights.Weights, meta: ModelMetadata) -> Iterator[Graph]:
    made = Graph(meta, demo.module)
    yield made
    made.session.close()


@pytest.fixture(scope="module")
def frame() -> NDArray[np.uint8]:
    """A busy frame, 640x360."""
    frames = list(validation_set(6, seed=3, size_wh=(640, 360)))
    return max(frames, key=lambda f: len(f.boxes_xyxy)).image_bgr


def encode(image: NDArray[np.uint8], suffix: str = ".jpg", *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, image, options)[1])


def detections(found: dict[str, NDArray[Any]], index: int = 0) -> NDArray[np.float32]:
    """[K, 6]: box, score, class of one image."""
    count = int(found[contract.OUTPUT_NUM][index])
    columns = [found[contract.OUTPUT_BOXES], found[contract.OUTPUT_SCORES][..., None]]
    columns.append(found[contract.OUTPUT_CLASSES][..., None])
    return np.concatenate([c[index][:count] for c in columns], 1)


def test_outputs_are_the_contract(graph: Graph, meta: ModelMetadata, frame: NDArray[np.uint8]) -> None:
    found = graph.files(encode(frame), encode(frame[:, :200]))
    assert {key: (v.shape, v.dtype.name) for key, v in found.items()} == {
        contract.OUTPUT_BOXES: ((2, MAX_DET, 4), "float32"),
        contract.OUTPUT_SCORES: ((2, MAX_DET), "float32"),
        contract.OUTPUT_CLASSES: ((2, MAX_DET), "float32"),
        contract.OUTPUT_CLASS_TEXT: ((2, MAX_DET), "object"),
        contract.OUTPUT_NUM: ((2,), "float32"),
    }
    rows = detections(found)
    assert len(rows) >= 2, "a busy street must have something in it"
    assert (np.diff(rows[:, 4]) <= 0).all()
    assert (rows[:, 4] > meta.conf).all()
    assert ((rows[:, :4] >= 0) & (rows[:, :4] <= 1)).all()
    assert (rows[:, 2:4] > rows[:, :2]).all()
    texts = found[contract.OUTPUT_CLASS_TEXT][0]
    assert [t.decode() for t in texts[: len(rows)]] == [meta.names[int(i)] for i in rows[:, 5]]
    assert set(texts[len(rows) :]) == {b""}
    assert not found[contract.OUTPUT_BOXES][0][len(rows) :].any()


def test_png_is_jpeg_without_loss(graph: Graph, frame: NDArray[np.uint8]) -> None:
    best = detections(graph.files(encode(frame, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)))
    lossless = detections(graph.files(encode(frame, ".png")))
    assert len(lossless) == pytest.approx(len(best), abs=1)
    np.testing.assert_allclose(lossless[0, :4], best[0, :4], atol=0.01)


@pytest.mark.parametrize("kind", ["grey jpeg", "grey png", "alpha png", "16-bit png"])
def test_other_pixels(graph: Graph, frame: NDArray[np.uint8], kind: str) -> None:
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    images = {
        "grey jpeg": (grey, ".jpg"),
        "grey png": (grey, ".png"),
        "alpha png": (cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA), ".png"),
        "16-bit png": (frame.astype(np.uint16) * 257, ".png"),
    }
    image, suffix = images[kind]
    assert len(detections(graph.files(encode(np.asarray(image), suffix)))) >= 1


def test_a_batch_of_other_shapes_finds_the_same(graph: Graph, frame: NDArray[np.uint8]) -> None:
    """In a batch a frame may get a wider grey border; what is found hardly moves."""
    wide, tall = encode(frame), encode(np.ascontiguousarray(frame[:, 100:400]))
    both = graph.files(wide, tall)
    for index, file in enumerate((wide, tall)):
        alone, together = detections(graph.files(file)), detections(both, index)
        sure = alone[alone[:, 4] > 0.6]
        nearest = np.abs(sure[:, None, :4] - together[None, :, :4]).max(-1).min(1)
        assert (nearest < 0.02).all()


def test_large_frames_at_reduced_scale(graph: Graph, demo: weights.Weights, meta: ModelMetadata) -> None:
    """1920 pixels for a network of 320 are decoded at half size or less; what is found stays."""
    large = next(iter(validation_set(1, seed=5, size_wh=(1920, 1080)))).image_bgr
    from_jpeg = detections(graph.files(encode(large, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98)))
    in_full = detections(graph.files(encode(large, ".png")))
    sure = in_full[in_full[:, 4] > 0.6]
    assert len(sure)
    nearest = np.abs(sure[:, None, :4] - from_jpeg[None, :, :4]).max(-1).min(1)
    assert (nearest < 0.03).all()


def jpeg_header(height: int, width: int) -> bytes:
    """A JPEG that claims a size and has no picture: SOI, SOF0, SOS (ITU T.81)."""
    frame_header = struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    scan = struct.pack(">HB", 12, 3) + bytes([1, 0, 2, 0, 3, 0, 0, 63, 0])
    return b"\xff\xd8\xff\xc0" + frame_header + b"\xff\xda" + scan + bytes(64)


def png_header(height: int, width: int) -> bytes:
    """A PNG that claims a size and has no picture."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "expected a JPEG or PNG file"),
        (b"x", "expected a JPEG or PNG file"),
        (b"GIF89a" + bytes(100), r"begin with\] \[71 73 70 56\]"),
        (b"\xff\xd8\xff", "[Jj]peg|JPEG"),
        (b"\x89PNG\r\n\x1a\n", "expected a JPEG or PNG file"),
        (jpeg_header(65500, 65500), r"at most\] \[3000000\]"),
        (jpeg_header(2000, 1501), r"at most\] \[3000000\]"),
        (jpeg_header(0, 100), "JPEG|at least 1"),
        (png_header(65500, 65500), r"at most\] \[3000000\]"),
        (png_header(2**31 - 1, 2**31 - 1), r"at most\] \[3000000\]"),
        (png_header(2**32 - 1, 2**32 - 1), r"at most\] \[3000000\]"),
        (png_header(100, 100), "PNG"),
        (jpeg_header(100, 100), "JPEG|jpeg"),
    ],
)
def test_refuses(graph: Graph, file: bytes, says: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        graph.files(file)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_anywhere(graph: Graph, frame: NDArray[np.uint8], suffix: str) -> None:
    whole = encode(frame, suffix)
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99):
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph.files(whole[: int(len(whole) * share)])


def test_an_empty_batch_is_refused(graph: Graph) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected at least one image"):
        graph.files()


def test_the_smallest_image(graph: Graph) -> None:
    assert len(detections(graph.files(encode(np.zeros((1, 1, 3), np.uint8))))) <= MAX_DET


def test_letterboxed_signature(graph: Graph, frame: NDArray[np.uint8]) -> None:
    from model.reference import letterbox

    boxed = letterbox(frame, (320, 320))
    straight = detections(graph.images(boxed[None, ..., ::-1]))
    whole_way = detections(graph.files(encode(frame, ".png")))
    assert len(straight) >= 2
    np.testing.assert_allclose(straight[0, 4], whole_way[0, 4], atol=0.02)


@pytest.mark.parametrize("shape_hw", [(100, 320), (320, 33), (0, 32)])
def test_letterboxed_signature_refuses_other_shapes(graph: Graph, shape_hw: tuple[int, int]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="positive multiples of"):
        graph.images(np.zeros((1, *shape_hw, 3), np.uint8))


def test_max_det_keeps_the_best(
    demo: weights.Weights, meta: ModelMetadata, graph: Graph, frame: NDArray[np.uint8]
) -> None:
    one = Graph(replace(meta, max_det=1), demo.module)
    found = detections(one.files(encode(frame)))
    one.session.close()
    np.testing.assert_allclose(found, detections(graph.files(encode(frame)))[:1], rtol=1e-5)


def test_no_file_is_needed_beyond_the_graph(graph: Graph, tmp_path: Path) -> None:
    """Weights are constants: a SavedModel without variables is one that cannot be half there."""
    kinds = {node.op for node in graph.session.graph.as_graph_def().node}
    assert not kinds & {"VariableV2", "VarHandleOp", "ReadFile", "WriteFile", "PyFunc"}
