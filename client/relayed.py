"""The transport to a relay: one bidirectional stream."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator

import grpc

from client.channel import CHANNEL_OPTIONS, MOST_IMAGE_BYTES, check_target, status_line
from client.predict import to_detections
from client.security import Security
from client.transport import Answer, Listener, Outgoing, SourceReport
from client.types import DropReason, Status
from client.wire import relay_pb2 as pb

DETECT = "/sightline.v1.Relay/Detect"
HELLO = ("sightline-relay", "v1")  # the relay's initial metadata: it has taken the stream
GOODBYE_S = 0.2  # for the end of a stream whose results are all here
# A stream's metadata: it half-closes when told that the relay stops.
TELL_CLOSING = ("sightline-closing", "1")
# A camera may be silent for long. Of pings that no data goes with gRPC sends two, then one a minute, unless it is told
# not to count them; a relay takes one each 5 s (client/relay/main.py), a model server that we do not know may not.
STREAM_OPTIONS = [*CHANNEL_OPTIONS, ("grpc.http2.max_pings_without_data", 0)]
_MAX_UINT32 = 2**32 - 1
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class RelayTransport:
    """Streams to the relay at `target` (host:port).

    `version`: sent as metadata of that name; the mesh routes by it (for example "v2" to the canary). `priority`: 1 to
    10, the camera's share beside the others' when not every frame can be inferred.
    `security`: TLS and the token of `camera_id`; each new stream asks for the token anew.

    Raises:
        TransportError: `target` is no host:port.
    """

    remainder_stage = "network"  # there and back

    def __init__(
        self,
        target: str,
        *,
        version: str = "",
        priority: int = 1,
        security: Security | None = None,
        camera_id: str = "",
    ) -> None:
        check_target(target)
        self.target, self.priority = target, priority
        self._metadata: tuple[tuple[str, str], ...] = (TELL_CLOSING,)
        if version:
            self._metadata += (("version", version),)
        if priority != 1:
            self._metadata += (("sightline-priority", str(priority)),)
        self._security = security or Security()
        self._camera_id = camera_id

    def open(self, listener: Listener) -> RelayConnection:
        """Start one stream."""
        metadata = self._metadata + self._security.metadata(self._camera_id)
        channel = self._security.channel(self.target, STREAM_OPTIONS)
        return RelayConnection(self.target, channel, metadata, listener)


class RelayConnection:
    """One stream to the relay on a channel of its own. The relay answers in the order of the frames."""

    def __init__(
        self, target: str, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], listener: Listener
    ) -> None:
        self._listener = listener
        self._frames: queue.SimpleQueue[Outgoing | pb.Frame | None] = queue.SimpleQueue()
        self._sent: deque[tuple[int, int]] = deque()  # (seq, frame_id) of the frames without an answer
        self._channel = channel
        detect = self._channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        self._call = detect(self._messages(), metadata=metadata)
        self._finished = False
        self._closing = False  # the relay takes no more frames
        self._listening = threading.Thread(target=self._listen, name=f"results {target}", daemon=True)
        self._listening.start()

    def send(self, frame: Outgoing) -> None:
        """Send one frame as soon as those before it are on their way."""
        if self._closing:
            self._listener.answered(frame.seq, Answer.dropped(DropReason.UNSENT))
        elif len(frame.image) > MOST_IMAGE_BYTES:
            # gRPC would end the stream, and lose other frames too.
            error = f"image: {len(frame.image)} bytes; a relay takes up to {MOST_IMAGE_BYTES}"
            self._listener.answered(frame.seq, Answer.errored("INVALID_ARGUMENT", error))
        else:
            self._frames.put(frame)

    def report(self, camera_id: str, report: SourceReport) -> None:
        """Tell how the source is now."""
        retry_ms = min(max(0, round(report.retry_s * 1e3)), _MAX_UINT32)
        source = pb.Source(state=report.state, problem=report.problem, retry_ms=retry_ms)
        self._frames.put(pb.Frame(camera_id=camera_id, source=source))

    def finish(self) -> None:
        """Half-close: the relay ends the stream after the last result."""
        self._finished = True
        self._frames.put(None)

    def close(self) -> None:
        """Cancel the stream, unless it was finished and ends by itself, and close the channel."""
        self._frames.put(None)
        if self._finished:
            self._listening.join(GOODBYE_S)  # a relay takes a cancelled stream for a camera that was lost
        self._call.cancel()
        self._channel.close()

    def _messages(self) -> Iterator[bytes]:
        """The frames as messages. gRPC takes the next one when the network has taken the one before: only then it is
        known how old it is, and whether it is worth to be sent."""
        while (frame := self._frames.get()) is not None:
            if isinstance(frame, pb.Frame):
                yield frame.SerializeToString()
                continue
            age_s = time.monotonic() - frame.captured_s
            if 0 < frame.max_age_s <= age_s:
                self._listener.answered(frame.seq, Answer.dropped(DropReason.EXPIRED))
                continue
            self._sent.append((frame.seq, frame.frame_id))
            yield to_message(frame, age_s)

    def _listen(self) -> None:
        """Report the relay's results until the stream ends."""
        try:
            if HELLO in ((key, value) for key, value in self._call.initial_metadata()):
                self._listener.ready()
            try:
                for result in self._results():
                    self._listener.answered(*result)
            finally:
                self._settle_unsent()
            self._listener.broken("the relay ended the stream")
        except grpc.RpcError as error:
            wrong = error.code() is grpc.StatusCode.UNIMPLEMENTED
            hint = " (this is no Sightline relay)" if wrong else ""
            self._listener.broken(status_line(error) + hint, wrong_service=wrong)
        except Exception as error:  # a bug, or a relay that breaks the protocol: the stream must hear of it
            self._listener.broken(f"{type(error).__name__}: {error}")
        finally:
            self._call.cancel()

    def _settle_unsent(self) -> None:
        """Frames that came too late to be sent to a relay that stops."""
        while self._closing and not self._frames.empty():
            frame = self._frames.get()
            if isinstance(frame, Outgoing):
                self._listener.answered(frame.seq, Answer.dropped(DropReason.UNSENT))

    def _results(self) -> Iterator[tuple[int, Answer]]:
        for result in self._call:
            received_s = time.monotonic()
            if result.HasField("retry"):
                self._listener.retry()
                continue
            if result.HasField("closing"):
                self._closing = True
                self._listener.closing()
                self._frames.put(None)
                continue
            if not self._sent:
                raise ValueError(f"the relay answered frame {result.frame_id}, which was not sent")
            seq, frame_id = self._sent.popleft()
            if frame_id != result.frame_id:
                raise ValueError(f"the relay answered frame {result.frame_id}; expected frame {frame_id}")
            yield seq, to_answer(result, received_s)


def to_message(frame: Outgoing, age_s: float) -> bytes:
    """A frame of this age as it goes over the wire."""
    message = pb.Frame(
        camera_id=frame.camera_id,
        frame_id=frame.frame_id,
        capture_time_unix_ns=frame.captured_unix_ns,
        age_us=min(max(0, round(age_s * 1e6)), _MAX_UINT32),
        max_age_ms=max(1, round(frame.max_age_s * 1e3)) if frame.max_age_s else 0,
        wait=frame.wait,
        image=frame.image,
    )
    return bytes(message.SerializeToString())


def to_stages_ms(timings: pb.Timings) -> dict[str, float]:
    """The stages at the relay and behind it; none is negative, whatever a relay says."""
    stages_ms = {"relay_queue": timings.relay_queue_us / 1e3}
    if timings.server_us:
        stages_ms["mesh"] = max(0, timings.predict_us - timings.server_us) / 1e3
        stages_ms["server"] = max(0, timings.server_us - timings.infer_us) / 1e3
        stages_ms["infer"] = timings.infer_us / 1e3
    else:
        stages_ms["predict"] = timings.predict_us / 1e3
    order_us = timings.relay_total_us - timings.relay_queue_us - timings.predict_us - timings.post_us
    stages_ms["relay_order"] = max(0, order_us) / 1e3
    stages_ms["post"] = timings.post_us / 1e3
    return stages_ms


def to_answer(result: pb.Result, received_s: float) -> Answer:
    """A relay's Result as an Answer. Raises ValueError if it has no outcome or its columns disagree."""
    stages_ms = to_stages_ms(result.timings)
    outcome = result.WhichOneof("outcome")
    if outcome == "delivered":
        got = result.delivered
        detections = to_detections(got.boxes[:], got.scores[:], got.class_ids[:], got.labels[:])
        return Answer(
            Status.DELIVERED, detections=detections, model_name=got.model_name,
            model_version=got.model_version, stages_ms=stages_ms, received_s=received_s,
        )  # fmt: skip
    if outcome == "dropped":
        return Answer(
            Status.DROPPED, reason=result.dropped.reason, stages_ms=stages_ms, received_s=received_s
        )
    if outcome == "error":
        code = _CODE_NAMES.get(result.error.code, str(result.error.code))
        error = f"{code}: {result.error.message}"
        return Answer(Status.ERRORED, error=error, stages_ms=stages_ms, received_s=received_s)
    raise ValueError(f"the relay's result for frame {result.frame_id} has no outcome")
