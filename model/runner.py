"""Run an exported version in this process, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model import contract
from model.evaluate import Prediction
from model.quiet import tf


class Runner:
    """A SavedModel version of ours, loaded."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError where `folder` holds no SavedModel with the signatures of `model.contract`."""
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(folder))
            self._files = _Signature(meta, contract.SIGNATURE, contract.INPUT_IMAGE_BYTES)
            self._images = _Signature(meta, contract.SIGNATURE_LETTERBOXED, contract.INPUT_IMAGES)
        except (OSError, KeyError, tf.errors.OpError) as error:
            raise ValueError(f"{folder} holds no SavedModel that sightline exported") from error

    def file(self, file: bytes, size_wh: tuple[int, int]) -> Prediction:
        """Detections of one JPEG or PNG file, boxes in pixels of its `size_wh`.

        Raises tf.errors.InvalidArgumentError for a file that is not decodable.
        """
        return self._run(self._files, [file], size_wh)

    def letterboxed(self, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
        """Detections of one letterboxed image, uint8 [H, W, 3] with H and W multiples of 32; boxes in its pixels."""
        return self._run(self._images, image_bgr[None, ..., ::-1], (image_bgr.shape[1], image_bgr.shape[0]))

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def _run(self, signature: _Signature, value: Any, size_wh: tuple[int, int]) -> Prediction:
        found = self._session.run(signature.outputs, {signature.input: value})
        count = int(found[contract.OUTPUT_NUM][0])
        ymin_xmin_ymax_xmax = found[contract.OUTPUT_BOXES][0][:count]
        boxes = ymin_xmin_ymax_xmax[:, [1, 0, 3, 2]] * np.asarray(size_wh * 2, np.float32)
        classes = found[contract.OUTPUT_CLASSES][0][:count].astype(np.int64)
        return Prediction(boxes.astype(np.float32), found[contract.OUTPUT_SCORES][0][:count], classes)


class _Signature:
    """The tensors' names of one signature."""

    def __init__(self, meta: Any, key: str, input_name: str) -> None:
        signature = meta.signature_def[key]
        self.input = signature.inputs[input_name].name
        self.outputs = {name: signature.outputs[name].name for name in contract.OUTPUTS}
