"""The engines that a user would pick instead, each as fast as we could make it: ONNX Runtime and OpenVINO.

They get what ours gets, JPEG bytes, and give what ours gives, boxes after NMS; decoding, letterbox and NMS are
OpenCV's. A network is compiled for each input shape: static shapes are what both are fastest with, and the
smallest rectangle that holds a frame is what Ultralytics' predict would use too.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model import contract
from model.letterbox import Letterbox, fit

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # [1, 3, h, w] -> [1, 4 + classes, anchors]
Detection = tuple[
    float, float, float, float, float, int
]  # x1, y1, x2, y2 in the frame's pixels, score, class
IMGSZ = (contract.DEFAULT_IMGSZ, contract.DEFAULT_IMGSZ)


def export_onnx(weights: Path, folder: Path, shapes_hw: list[tuple[int, int]]) -> None:
    """Write `<h>x<w>.onnx` for each shape into `folder`, from the same fused PyTorch module as ours."""
    import torch

    from model.weights import load

    folder.mkdir(parents=True, exist_ok=True)
    module = load(weights).module
    module.model[-1].export, module.model[-1].format = True, "onnx"  # one output: decoded boxes and scores
    for height, width in shapes_hw:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (torch.zeros(1, 3, height, width),),
                str(onnx_file(folder, (height, width))),
                dynamo=False,
            )


def onnx_file(folder: Path, hw: tuple[int, int]) -> Path:
    """The network's file for one input shape."""
    return folder / f"{hw[0]}x{hw[1]}.onnx"


class Peer:
    """JPEG in, boxes out, with some runtime's network inside. For one caller."""

    def __init__(self, compile_shape: Callable[[tuple[int, int]], Infer]) -> None:
        self._compile = compile_shape
        self._compiled: dict[tuple[int, int], Infer] = {}

    def detect(self, jpeg: bytes) -> list[Detection]:
        """The objects in the image."""
        image = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        place = fit((image.shape[0], image.shape[1]), IMGSZ)
        if place.input_hw not in self._compiled:
            self._compiled[place.input_hw] = self._compile(place.input_hw)
        found = self._compiled[place.input_hw](_network_input(image, place))
        return _detections(found[0], place)


def onnxruntime_compiler(folder: Path, threads: int) -> Callable[[tuple[int, int]], Infer]:
    """ONNX Runtime in fp32 on `threads` threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1

    def compile_shape(hw: tuple[int, int]) -> Infer:
        session = onnxruntime.InferenceSession(
            str(onnx_file(folder, hw)), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda x: np.asarray(session.run(None, {name: x})[0], np.float32)

    return compile_shape


def openvino_compiler(
    folder: Path, callers: int, threads: int, precision: str
) -> Callable[[tuple[int, int]], Infer]:
    """OpenVINO with `precision` "f32" or "bf16": one network with a stream of `threads` threads for each caller.

    A network for each caller would not do: OpenVINO pins each network's threads to the same first cores.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "NUM_STREAMS": str(callers),
        "INFERENCE_NUM_THREADS": str(callers * threads),
        "INFERENCE_PRECISION_HINT": precision,
        # Fewer threads than cores: another process has the other cores, and would be pinned to the same ones.
        "ENABLE_CPU_PINNING": callers * threads >= len(os.sched_getaffinity(0)),
    }
    networks: dict[tuple[int, int], Any] = {}
    compiling = threading.Lock()

    def compile_shape(hw: tuple[int, int]) -> Infer:
        with compiling:
            if hw not in networks:
                networks[hw] = core.compile_model(str(onnx_file(folder, hw)), "CPU", settings)
        request = networks[hw].create_infer_request()

        def infer(x: NDArray[np.float32]) -> NDArray[np.float32]:
            result: Any = request.infer({0: x}, share_inputs=True, share_outputs=True)
            return np.asarray(result[0], np.float32)

        return infer

    return compile_shape


def _network_input(image_bgr: NDArray[np.uint8], place: Letterbox) -> NDArray[np.float32]:
    """float32 [1, 3, h, w] RGB in 0..1."""
    height, width = place.resized_hw
    resized = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    bottom, right = place.input_hw[0] - height - place.top, place.input_hw[1] - width - place.left
    grey = (contract.LETTERBOX_GREY,) * 3
    boxed = cv2.copyMakeBorder(resized, place.top, bottom, place.left, right, cv2.BORDER_CONSTANT, value=grey)
    return np.asarray(cv2.dnn.blobFromImage(boxed, 1 / 255, swapRB=True), np.float32)


def _detections(found: NDArray[np.float32], place: Letterbox) -> list[Detection]:
    """found [4 + classes, anchors] -> what class-aware NMS leaves."""
    best = found[4:].max(0)
    likely = np.flatnonzero(best > contract.DEFAULT_CONF)
    if not likely.size:
        return []
    scores, classes = best[likely].tolist(), found[4:, likely].argmax(0)
    centre, size = found[:2, likely].T, found[2:4, likely].T
    boxes = np.concatenate([centre - size / 2, size], 1).astype(np.float64)  # x, y, width, height
    planes = boxes.copy()
    planes[:, :2] += (classes * 2 * max(place.input_hw))[:, None]  # each class on a plane of its own
    kept = cv2.dnn.NMSBoxes(planes.tolist(), scores, contract.DEFAULT_CONF, contract.DEFAULT_IOU)
    return [
        (*place.to_frame(x, y), *place.to_frame(x + width, y + height), scores[i], int(classes[i]))
        for i in np.asarray(kept, np.int64).ravel().tolist()
        for x, y, width, height in (boxes[i].tolist(),)
    ]
