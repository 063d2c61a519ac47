"""Rain and sensor noise over a frame: prepared once, added per frame at a place that depends on the time."""

from __future__ import annotations

import cv2
import numpy as np

from model.street.pen import Image

_SLACK = 128  # how many pixels the prepared layers are larger than the frame, so that they can be shifted


class Weather:
    """rain: 0 (none) .. 1; noise: the standard deviation of the sensor's noise in grey levels."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, rain: float, noise: float) -> None:
        self._seed = int(rng.integers(2**31))
        shape = (height + _SLACK, width + _SLACK)
        self._noise: Image | None = None
        if noise > 0:
            grain = rng.normal(2.5 * noise, noise, (*shape, 3))
            self._noise = np.asarray(np.clip(grain, 0, 255), np.uint8)
        self._lift = round(2.5 * noise)
        self._rain: Image | None = None
        if rain > 0:
            self._rain = _streaks(rng, shape, rain, max(width, height) / 1280)

    def apply(self, frame: Image, t_s: float) -> None:
        """Add the weather at time t_s to frame, in place."""
        height, width = frame.shape[:2]
        shift = np.random.default_rng((self._seed, round(t_s * 1000) & (2**62 - 1)))
        for layer, lift in ((self._rain, 0), (self._noise, self._lift)):
            if layer is None:
                continue
            x, y = (int(v) for v in shift.integers(0, _SLACK, 2))
            cv2.add(frame, layer[y : y + height, x : x + width], dst=frame)
            if lift:
                cv2.subtract(frame, np.full(4, lift, np.float64), dst=frame)  # a scalar, in OpenCV's terms


def _streaks(rng: np.random.Generator, shape: tuple[int, int], rain: float, k: float) -> Image:
    layer = np.zeros((*shape, 3), np.uint8)
    lean = float(rng.uniform(-0.35, 0.35))
    for _ in range(int(900 * rain)):
        x, y = float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0]))
        length = float(rng.uniform(10, 34)) * k
        level = int(rng.uniform(18, 60))
        end = (round(x + lean * length), round(y + length))
        cv2.line(layer, (round(x), round(y)), end, (level, level, level), max(1, round(k * 1.2)), cv2.LINE_AA)
    return layer
