"""A model server that knows what the synthetic cameras show, and such cameras in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np

from client.sources.images import decode
from client.wire import tfserving_pb2 as tfs
from model.child import bound
from model.street import CLASS_NAMES, Rendered, StreetScene, read_stamp
from tests.client.fakes import FakeModelServer, response_of

SIZE_WH = (640, 360)
FPS = 4.0
_RUN = """
import sys
from client.detect import run
from client.detect_config import configure
run(configure([{"source": spec} for spec in sys.argv[2:]], {"relay": sys.argv[1], "max_age": 5.0, "wait": 60.0}))
"""


class Scenes:
    """What camera `synthetic-SEED` shows in a frame."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scenes: dict[str, StreetScene] = {}

    def truth(self, camera_id: str, frame_id: int) -> Rendered:
        """Rendered anew: a scene is a pure function of seed, size and time."""
        with self._lock:
            if camera_id not in self._scenes:
                self._scenes[camera_id] = StreetScene(int(camera_id.rpartition("-")[2]), SIZE_WH)
            return self._scenes[camera_id].render(frame_id / FPS)


class TruthServer(FakeModelServer):
    """Answers each frame of a synthetic camera with its true boxes, score 0.9."""

    def start(self) -> Self:
        self.scenes = Scenes()
        return super().start()

    def _predict(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        (image,) = tfs.PredictRequest.FromString(data).inputs["image_bytes"].string_val
        picture = decode(image, turn=False)
        stamp = None if picture is None else read_stamp(picture)
        if stamp is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a stamped picture")
            raise AssertionError
        camera_id = dict(context.invocation_metadata())["sightline-camera-id"]
        return self._answer(self.scenes.truth(camera_id, stamp.frame_id))

    def _answer(self, truth: Rendered) -> bytes:
        count = len(truth.class_ids)
        scale = np.array([SIZE_WH[0], SIZE_WH[1]] * 2, np.float32)
        changes: dict[str, Any] = {
            "detection_boxes": (truth.boxes_xyxy / scale)[None, :, [1, 0, 3, 2]].astype(np.float32),
            "detection_scores": np.full((1, count), 0.9, np.float32),
            "detection_classes": truth.class_ids[None].astype(np.float32),
            "num_detections": np.array([count], np.float32),
        }
        answer = tfs.PredictResponse.FromString(response_of(0, self.version, **changes))
        names = answer.outputs["detection_classes_as_text"].string_val
        names[:] = [CLASS_NAMES[i].encode() for i in truth.class_ids]
        return bytes(answer.SerializeToString())


class Cameras:
    """Synthetic cameras with these seeds, in a process that can be killed."""

    def __init__(self, relay: str, *seeds: int) -> None:
        size = f"{SIZE_WH[0]}x{SIZE_WH[1]}"
        specs = [f"synthetic:seed={seed},fps={FPS},size={size}" for seed in seeds]
        self._process = subprocess.Popen(
            bound([sys.executable, "-c", _RUN, relay, *specs]),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Gone without a word."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.kill()
