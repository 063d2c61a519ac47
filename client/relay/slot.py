"""One frame that arrived at the relay, and what becomes of it."""

from __future__ import annotations

import asyncio

import grpc

from client.wire import relay_pb2 as pb


class Slot:
    """A frame's place in its stream's order. It is settled exactly once; then its image is let go.

    Times are the event loop's (monotonic) seconds. `expires_s`: when the frame is older than its max age; 0: never.
    `timer`: what drops it then, wherever it is. `occupies`: it has one of its camera's places in flight.
    """

    __slots__ = (
        "age_s",
        "arrived_s",
        "code_name",
        "expires_s",
        "image",
        "infer_s",
        "occupies",
        "post_s",
        "predict_s",
        "result",
        "sent_s",
        "server_s",
        "settled",
        "timer",
        "wait",
    )

    def __init__(self, frame: pb.Frame, now_s: float) -> None:
        self.result = pb.Result(
            camera_id=frame.camera_id,
            frame_id=frame.frame_id,
            capture_time_unix_ns=frame.capture_time_unix_ns,
        )
        self.image = frame.image
        self.wait = frame.wait
        self.arrived_s = now_s
        self.age_s = frame.age_us / 1e6  # when the camera sent it
        self.expires_s = now_s + frame.max_age_ms / 1e3 - self.age_s if frame.max_age_ms else 0.0
        self.sent_s = 0.0  # when Predict was sent
        self.predict_s = 0.0  # how long it took
        self.post_s = 0.0  # and to make a Result of its answer
        self.server_s = self.infer_s = (
            0.0  # as the server tells: of it at the server, and of that in the model
        )
        self.code_name = ""
        self.settled = False
        self.occupies = False
        self.timer: asyncio.TimerHandle | None = None

    def expired(self, now_s: float) -> bool:
        """Whether the frame is older than its max age."""
        return bool(self.expires_s) and now_s >= self.expires_s

    def deliver(self, detections: pb.Detections) -> None:
        """The model's answer."""
        if self._settle():
            self.result.delivered.CopyFrom(detections)

    def drop(self, reason: str) -> None:
        """It gets no answer, because of `reason`."""
        if self._settle():
            self.result.dropped.reason = reason

    def fail(self, code: grpc.StatusCode, message: str) -> None:
        """It failed."""
        if self._settle():
            self.code_name = code.name
            self.result.error.code = code.value[0]
            self.result.error.message = message

    def _settle(self) -> bool:
        if self.settled:
            return False
        self.settled, self.image = True, b""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return True

    def aged_s(self, now_s: float) -> float:
        """Seconds since capture, but for the way from the camera to the relay."""
        return self.age_s + now_s - self.arrived_s

    def finish(self, now_s: float) -> pb.Result:
        """The result, with the timings up to now."""
        timings = self.result.timings
        timings.relay_queue_us = round(((self.sent_s or now_s) - self.arrived_s) * 1e6)
        at_server_s = now_s - self.sent_s if self.sent_s else 0.0  # so far, if it has expired there
        timings.predict_us = round((self.predict_s or at_server_s) * 1e6)
        # By another clock than ours: whatever it says, the parts are no more than the whole.
        timings.server_us = min(round(self.server_s * 1e6), timings.predict_us)
        timings.infer_us = min(round(self.infer_s * 1e6), timings.server_us)
        timings.post_us = round(self.post_s * 1e6)
        timings.relay_total_us = round((now_s - self.arrived_s) * 1e6)
        return self.result
