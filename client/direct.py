"""The transport straight to a model server that speaks TensorFlow Serving's protocol: one unary Predict a frame."""

from __future__ import annotations

import functools
import threading
import time

import grpc

from client.channel import CHANNEL_OPTIONS, check_target, status_line
from client.predict import PREDICT, parse_response, request_bytes
from client.transport import Answer, Listener, Outgoing, SourceReport
from client.types import DropReason, Status
from model.contract import MODEL_NAME, SIGNATURE

PREDICT_TIMEOUT_S = 10.0  # for frames without a max age
WATCHER_S = 2.0  # for gRPC's own thread to end, which looks every 0.2 s


class DirectTransport:
    """Calls Predict at `target` (host:port), without a relay. `version` is sent as metadata of that name.

    Raises:
        TransportError: `target` is no host:port.
    """

    remainder_stage = "predict"  # network, queue and inference: the server does not tell them apart

    def __init__(
        self, target: str, *, model_name: str = MODEL_NAME, signature_name: str = SIGNATURE, version: str = ""
    ) -> None:
        check_target(target)
        self.target = target
        self._request_bytes = functools.partial(request_bytes, model_name, signature_name)
        self._metadata = (("version", version),) if version else ()

    def open(self, listener: Listener) -> DirectConnection:
        """Start one channel."""
        return DirectConnection(self, listener)


class DirectConnection:
    """One channel. A Predict that fails as unavailable breaks it, so that the stream starts over with a new one."""

    def __init__(self, transport: DirectTransport, listener: Listener) -> None:
        self._transport, self._listener = transport, listener
        self._calls: set[grpc.Future] = set()
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(transport.target, CHANNEL_OPTIONS)
        self._predict = self._channel.unary_unary(PREDICT)
        self._channel.subscribe(self._state_changed, try_to_connect=True)

    def _state_changed(self, state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            self._listener.ready()
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._listener.broken("cannot connect")

    def send(self, frame: Outgoing) -> None:
        """Start one Predict; what is left of the frame's max age is its timeout."""
        timeout_s = PREDICT_TIMEOUT_S
        if frame.max_age_s:
            timeout_s = max(0.001, frame.captured_s + frame.max_age_s - time.monotonic())
        call = self._predict.future(
            self._transport._request_bytes(frame.image), timeout=timeout_s, metadata=self._transport._metadata
        )
        with self._lock:
            self._calls.add(call)
        call.add_done_callback(functools.partial(self._done, frame))

    def _done(self, frame: Outgoing, call: grpc.Future) -> None:
        with self._lock:
            self._calls.discard(call)
        if call.cancelled():
            return
        received_s, error = time.monotonic(), call.exception()
        self._listener.answered(frame.seq, _answer(call, error, received_s, limited=frame.max_age_s > 0))
        if error is not None and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            self._listener.broken(f"{status_line(error)} (this is no model server)", wrong_service=True)

    def report(self, camera_id: str, report: SourceReport) -> None:
        """Nobody there wants to know."""

    def finish(self) -> None:
        """Nothing to tell the server."""

    def close(self) -> None:
        """Cancel what is under way and close the channel."""
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()
        self._channel.unsubscribe(self._state_changed)
        _wait_for_watcher(self._channel)
        self._channel.close()


def _wait_for_watcher(channel: grpc.Channel) -> None:
    """Until gRPC's thread that watches the connection has ended, as it does once it sees that nobody asks:
    if the channel is closed before, it may die of that, with a traceback on standard error."""
    watcher, end_s = getattr(channel, "_connectivity_state", None), time.monotonic() + WATCHER_S
    while getattr(watcher, "polling", False) and time.monotonic() < end_s:
        time.sleep(0.01)


def _answer(call: grpc.Future, error: grpc.RpcError | None, received_s: float, *, limited: bool) -> Answer:
    """What a finished Predict says about its frame. `limited`: its timeout was what was left of the max age."""
    if error is not None:
        if limited and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Answer.dropped(DropReason.EXPIRED)
        came_s = (
            0.0 if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else received_s
        )  # our own patience ended
        return Answer(Status.ERRORED, error=status_line(error), received_s=came_s)
    try:
        got = parse_response(call.result())
        return Answer(
            Status.DELIVERED,
            detections=got.detections(),
            model_name=got.model_name,
            model_version=got.model_version,
            received_s=received_s,
        )
    except ValueError as problem:
        return Answer.errored("INTERNAL", str(problem))
