"""How a stream treats its frames."""

from __future__ import annotations

from dataclasses import dataclass

from client.age_control import AgeControl


@dataclass(frozen=True)
class StreamConfig:
    """How a stream treats its frames.

    `max_age_s`: a frame older than this (seconds since capture) is dropped as expired wherever it is; 0: no limit.
    `jpeg_quality`: 1 to 100. `max_side_px`: a picture whose longer side is above this is sent scaled down to it
    (boxes are relative, so they stay true); 0: as it is. Encoded files are sent as they are.
    `adapt`: lower quality and size while the network is too slow for results of `max_age_s`; `jpeg_quality` and
    `max_side_px` are then the best that is sent. Nothing is adapted without a max age.
    `window`: frames that may be sent and not yet answered and taken. None: for a live source 2 at first (times its
    priority), as many as a relay infers at once for one camera, then as many as keep to `max_age_s`; else 4, two on
    their way.
    `connect_timeout_s`: the stream raises a TransportError if nobody answers, or whoever does refuses it, for so long:
    at the start, and for a source that is not live at any time; None: it tries for ever.
    `drain_s`: how long `stop` waits for the answers of frames that were sent.
    `backoff_min_s`, `backoff_max_s`: bounds of the exponential pause between attempts to connect (with jitter).
    """

    max_age_s: float = 0.2
    jpeg_quality: int = 85
    max_side_px: int = 0
    adapt: bool = False
    window: int | None = None
    connect_timeout_s: float | None = 10.0
    drain_s: float = 2.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 5.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_age_s", 0, 3600), ("jpeg_quality", 1, 100), ("max_side_px", 0, 65535),
            ("window", 1, 256), ("drain_s", 0, 3600),
            ("backoff_min_s", 0.001, 3600), ("backoff_max_s", self.backoff_min_s, 3600),
        ):  # fmt: skip
            value = getattr(self, name)
            kind, unit = (float, " seconds") if name.endswith("_s") else (int, "")
            if name == "window" and value is None:
                continue
            if not isinstance(value, int | float):
                raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")
            if not least <= value <= most:
                raise ValueError(f"{name}: expected {least} to {most}{unit}, got {value:g}")
            if not isinstance(value, kind | int):
                raise TypeError(f"{name}: expected a whole number, got {value:g}")
        if self.connect_timeout_s is not None and not self.connect_timeout_s > 0:
            raise ValueError(f"connect_timeout_s: expected more than 0 or None, got {self.connect_timeout_s}")

    def control_for(self, *, live: bool, priority: int = 1) -> AgeControl:
        """What controls a stream whose source is live or not. A relay infers 2 x `priority` of its frames at once."""
        window = self.window if self.window is not None else 2 * priority if live else 4
        fixed = self.window is not None or not live
        return AgeControl(self.max_age_s, window, fixed=fixed, adapt=self.adapt)
