"""The networks that the peers serve: JPEG in, boxes out, all with the same decoding, letterbox and NMS (OpenCV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bench.peers import Infer, Peer, onnxruntime_compiler, openvino_compiler

Detect = Callable[[bytes], list[list[float]]]  # JPEG -> x1, y1, x2, y2, score, class of each object

RUNTIMES = ("torch", "onnxruntime", "openvino-f32", "openvino-bf16")


@dataclass(frozen=True)
class Network:
    """What runs the network and where its files are. `runtime`: one of RUNTIMES."""

    runtime: str
    weights: Path
    onnx: Path

    def detectors(self, instances: int, threads: int) -> list[Detect]:
        """One for each of `instances` callers at once, each on `threads` threads."""
        compile_shape: Callable[[tuple[int, int]], Infer]
        if self.runtime == "torch":
            compile_shape = _torch_compiler(self.weights, threads)
        elif self.runtime == "onnxruntime":
            compile_shape = onnxruntime_compiler(self.onnx, threads)
        else:
            precision = self.runtime.removeprefix("openvino-")
            compile_shape = openvino_compiler(self.onnx, instances, threads, precision)
        return [_listing(Peer(compile_shape)) for _ in range(instances)]


def _listing(peer: Peer) -> Detect:
    return lambda jpeg: [list(found) for found in peer.detect(jpeg)]


def _torch_compiler(weights: Path, threads: int) -> Callable[[tuple[int, int]], Infer]:
    """Ultralytics' module, fused, channels last: what halves its time on a CPU."""
    import torch

    from model.weights import load

    torch.set_num_threads(threads)
    module: Any = load(weights).module.to(memory_format=torch.channels_last)

    def infer(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            frames = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
            return np.asarray(module(frames)[0].numpy(), np.float32)

    return lambda _: infer
