"""Where a frame lies inside the network's input: pure geometry, the numbers of Ultralytics' LetterBox.

Source: ultralytics/data/augment.py `LetterBox(auto=True, scaleup=True, center=True)` and
ultralytics/utils/ops.py `scale_boxes`. `model/preprocess.py` does the same inside the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.contract import STRIDE

MAX_SIDE = 8192  # of a network's input: at 8192x8192 one layer of YOLOv8n takes 4 GB


@dataclass(frozen=True)
class Letterbox:
    """One frame's place in the network's input, all in pixels.

    `gain` is network pixels per frame pixel; `resized_hw` the size of the frame inside the input;
    `input_hw` the input itself, multiples of STRIDE; `top`, `left` the grey border before the frame.
    """

    frame_hw: tuple[int, int]
    gain: float
    resized_hw: tuple[int, int]
    input_hw: tuple[int, int]
    top: int
    left: int

    def to_frame(self, x: float, y: float) -> tuple[float, float]:
        """The frame's point (x, y) that lies at the input's point (x, y)."""
        return (x - self.left) / self.gain, (y - self.top) / self.gain

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """The input's point at which the frame's point (x, y) lies: the inverse of `to_frame`."""
        return x * self.gain + self.left, y * self.gain + self.top


def check_imgsz(imgsz: tuple[int, int]) -> tuple[int, int]:
    """(height, width) if each is a positive multiple of STRIDE, at most MAX_SIDE, else ValueError naming what is."""
    if max(imgsz) > MAX_SIDE:
        raise ValueError(f"imgsz must be at most {MAX_SIDE}, got {max(imgsz)}")
    for side in imgsz:
        if side < STRIDE or side % STRIDE:
            near = max(STRIDE, round(side / STRIDE) * STRIDE)
            raise ValueError(f"imgsz must be a positive multiple of {STRIDE}, got {side}: try {near}")
    return imgsz


def fit(frame_hw: tuple[int, int], imgsz: tuple[int, int]) -> Letterbox:
    """Place a frame of `frame_hw` = (height, width) in the smallest input that holds it at `imgsz`.

    The frame is scaled, up or down, to touch `imgsz` = (height, width); each side of the input is the scaled
    side rounded up to a multiple of STRIDE. A 1080x1920 frame at (640, 640) takes an input of (384, 640).

    Raises ValueError for a frame without pixels or an imgsz that is not a multiple of STRIDE.
    """
    check_imgsz(imgsz)
    height, width = frame_hw
    if height < 1 or width < 1:
        raise ValueError(f"expected a frame of at least 1x1 pixels, got {width}x{height}")
    gain = min(imgsz[0] / height, imgsz[1] / width)
    resized = max(1, round(height * gain)), max(1, round(width * gain))
    input_hw = -(-resized[0] // STRIDE) * STRIDE, -(-resized[1] // STRIDE) * STRIDE
    top = round((input_hw[0] - resized[0]) / 2 - 0.1)
    left = round((input_hw[1] - resized[1]) / 2 - 0.1)
    return Letterbox((height, width), gain, resized, input_hw, top, left)
