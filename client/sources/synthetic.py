"""The synthetic street camera: frames whose contents, ids and times are known."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.errors import SourceError
from client.sources.names import DEFAULT_SEED
from client.sources.options import Pacer, SourceOptions, capture_time
from client.types import Frame
from model.street import CLASS_NAMES, MIN_STAMP_WH, Rendered, StreetScene, paint_stamp

TRUTHS_KEPT = 2048  # frames whose truth is remembered
_USAGE = "expected synthetic or synthetic:seed=3,fps=15,size=1280x720,frames=100"


@dataclass(frozen=True, slots=True)
class Scene:
    """What `synthetic:...` asks for. `frames` ends it after so many; 0 is endless."""

    seed: int = DEFAULT_SEED
    fps: float = 15.0
    size_wh: tuple[int, int] = (1280, 720)
    frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a frame shows: `boxes` float32 [K, 4], ymin, xmin, ymax, xmax in 0..1 of the frame; K `labels`."""

    boxes: NDArray[np.float32]
    labels: tuple[str, ...]


def parse_scene(spec: str) -> Scene:
    """`synthetic` or `synthetic:key=value,...` with the keys seed, fps, size and frames.

    Raises:
        SourceError: another key, or a value out of range.
    """
    values: dict[str, str] = {}
    for part in filter(None, spec.partition(":")[2].split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in {"seed", "fps", "size", "frames"}:
            raise SourceError(f"synthetic camera: what is {part!r}? {_USAGE}")
        values[key] = value
    try:
        width, _, height = values.get("size", "1280x720").lower().partition("x")
        scene = Scene(
            int(values.get("seed", DEFAULT_SEED)),
            float(values.get("fps", 15.0)),
            (int(width), int(height)),
            int(values.get("frames", 0)),
        )
    except ValueError:
        raise SourceError(f"synthetic camera: {spec!r} holds something that is no number; {_USAGE}") from None
    if not 0 < scene.fps <= 1000 or scene.frames < 0:
        raise SourceError(f"synthetic camera: fps must be in 0..1000 and frames 0 or more; {_USAGE}")
    if scene.size_wh[0] < MIN_STAMP_WH[0] or scene.size_wh[1] < MIN_STAMP_WH[1]:
        least = f"{MIN_STAMP_WH[0]}x{MIN_STAMP_WH[1]}"
        raise SourceError(f"synthetic camera: size must be at least {least}, got {width}x{height}")
    return scene


class SyntheticSource:
    """Renders a street at a frame rate; each frame carries its id and capture time in its pixels.

    `live` unless `options.every_frame`. Frame i shows the scene at i * vid_stride / fps seconds, whenever it
    is taken, so two runs with one seed give the same frames but for the stamp. `truth()` tells what is in a
    frame.

    Raises:
        SourceError: the scene cannot be made so.
    """

    def __init__(self, scene: Scene, camera_id: str, options: SourceOptions) -> None:
        self.camera_id = camera_id
        self.live = not options.every_frame
        self._period_s = options.vid_stride / (options.fps or scene.fps)
        self.fps = 1.0 / self._period_s
        self._frames = scene.frames
        self._stop = threading.Event()
        self._truths: OrderedDict[int, Truth] = OrderedDict()
        try:
            self._street = StreetScene(scene.seed, scene.size_wh)
        except ValueError as error:
            raise SourceError(f"synthetic camera: {error}") from None

    def frames(self) -> Iterator[Frame]:
        """Stamped frames, until `close()` or the number asked for. Call it once."""
        pacer = Pacer(self.fps, self._stop) if self.live else None
        frame_id = 0
        while not self._stop.is_set() and (not self._frames or frame_id < self._frames):
            if pacer is not None and not pacer.wait():
                return
            captured_s, unix_ns = capture_time()
            rendered = self._street.render(frame_id * self._period_s)
            paint_stamp(rendered.image_bgr, frame_id, unix_ns)
            self._remember(frame_id, rendered)
            yield Frame(
                self.camera_id, frame_id, captured_s, unix_ns, rendered.image_bgr, read_s=time.monotonic()
            )
            frame_id += 1

    def truth(self, frame_id: int) -> Truth | None:
        """What that frame shows; None if it is none of the latest 2048."""
        return self._truths.get(frame_id)

    def close(self) -> None:
        """End `frames()` soon, from any thread."""
        self._stop.set()

    def _remember(self, frame_id: int, rendered: Rendered) -> None:
        height, width = rendered.image_bgr.shape[:2]
        xyxy = rendered.boxes_xyxy / np.array([width, height, width, height], np.float32)
        labels = tuple(CLASS_NAMES[i] for i in rendered.class_ids)
        self._truths[frame_id] = Truth(np.ascontiguousarray(xyxy[:, [1, 0, 3, 2]]), labels)
        while len(self._truths) > TRUTHS_KEPT:
            self._truths.popitem(last=False)
