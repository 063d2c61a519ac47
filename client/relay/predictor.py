"""The relay's way to the model server."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import grpc

from client.channel import CHANNEL_OPTIONS
from client.predict import GET_MODEL_STATUS, PREDICT, parse_response, request_bytes
from client.relay.camera import Camera
from client.relay.config import RelayConfig
from client.relay.limit import InFlightLimit
from client.relay.metrics import RelayMetrics
from client.relay.scheduler import Outcome
from client.relay.slot import Slot
from client.tally import plain_error
from client.wire import relay_pb2 as pb
from client.wire import tfserving_pb2 as tfs

# The relay gives a Predict up itself, and the deadline that travels with it is this much later. If it were the
# deadline of the proxies between that passed first, they would answer 504 in the server's place, and outlier
# detection would eject a server for being slower than a camera would like.
DEADLINE_BEHIND_S = 0.1

# When a frame expires at the server its camera is told so at once, but its Predict is waited for a little longer: TF
# Serving goes on with it, and who gives up and sends the next one piles them up there. Four times what Predicts take,
# at least so long.
PATIENCE_S = 0.1

# Trailing metadata in which serving/ tells what of a Predict's time it took (ms); named as HTTP's header is.
SERVER_TIMING = "server-timing"
_TIMES = re.compile(r"total;dur=(\d{1,9}(?:\.\d{1,6})?), infer;dur=(\d{1,9}(?:\.\d{1,6})?)", re.ASCII)

# No place at the server, or at a proxy's circuit breaker.
_REFUSED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

# RESOURCE_EXHAUSTED from gRPC's own server (TF Serving's --grpc_max_threads), when other clients keep it busy.
BUSY = "Server Threadpool Exhausted"
BUSY_PAUSE_S, LONGEST_BUSY_PAUSE_S = 0.01, 0.16

if TYPE_CHECKING:
    from client.relay.shadow import Shadow  # needs the extra `rollout`

log = logging.getLogger("sightline.relay")


class Predictor:
    """One channel to the model server; gRPC connects it again when the server comes back."""

    def __init__(self, config: RelayConfig, limit: InFlightLimit, metrics: RelayMetrics) -> None:
        self._config, self._limit, self._metrics = config, limit, metrics
        self.shadow: Shadow | None = None  # asks another version about some of the frames
        self._patience_s = PATIENCE_S
        self._channel = grpc.aio.insecure_channel(config.target, CHANNEL_OPTIONS)
        self._predict = self._channel.unary_unary(PREDICT)
        self._status = self._channel.unary_unary(
            GET_MODEL_STATUS, request_serializer=tfs.GetModelStatusRequest.SerializeToString
        )
        self._problem = "it has not answered yet"  # why the model is not available
        self._loop = asyncio.get_running_loop()

    async def predict(self, camera: Camera, slot: Slot) -> Outcome:
        """Settle one frame by a Predict, unless it expires first; returns when the server is done with it."""
        slot.sent_s = now_s = self._loop.time()
        image, timeout_s = slot.image, self._config.predict_timeout_s
        if slot.expires_s:
            timeout_s = min(timeout_s, max(0.0, slot.expires_s - now_s) + self._patience_s)
        outcome = Outcome.ANSWERED
        try:
            async with asyncio.timeout(timeout_s):
                answer, told = await self._ask(camera, image, timeout_s + DEADLINE_BEHIND_S)
            slot.server_s, slot.infer_s = server_timing(told)
            answered_s = self._loop.time()
            slot.predict_s = answered_s - slot.sent_s
            found = detections_of(answer)
            ready_s = self._loop.time()
            slot.post_s = ready_s - answered_s
            if not slot.wait:
                self._metrics.answered(found.model_version, slot.aged_s(ready_s))
            if not slot.settled:
                slot.deliver(found)
                camera.delivered(image, slot)
                if self.shadow is not None:
                    self.shadow.offer(camera, image, slot)
        except grpc.aio.AioRpcError as error:
            slot.predict_s = self._loop.time() - slot.sent_s
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.CANCELLED:  # what we cancel ends in a CancelledError
                code, details = grpc.StatusCode.UNAVAILABLE, "the model server cancelled the call"
            if code in _REFUSED:
                outcome = Outcome.REFUSED
            if code is grpc.StatusCode.DEADLINE_EXCEEDED and slot.expires_s:
                slot.drop("expired")
            slot.fail(code, details)
        except TimeoutError:
            slot.predict_s = self._loop.time() - slot.sent_s
            slot.fail(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer from the model server within {timeout_s:g} s"
            )
            outcome = Outcome.LOST
        except ValueError as error:
            slot.fail(grpc.StatusCode.INTERNAL, str(error))
        except Exception as error:  # a bug must not leave the frame, and all behind it, without a result
            log.exception("a frame failed at the relay")
            slot.fail(grpc.StatusCode.INTERNAL, f"{type(error).__name__} at the relay")
        self._learn_patience(outcome)
        return outcome

    def _learn_patience(self, outcome: Outcome) -> None:
        """As TCP waits for an acknowledgement: a few times what it usually takes, and doubled when none came."""
        most_s = self._config.predict_timeout_s
        usual_s = 2 * self._patience_s if outcome is Outcome.LOST else 4 * self._limit.typical_s
        self._patience_s = min(most_s, max(PATIENCE_S, usual_s))

    async def _ask(self, camera: Camera, image: bytes, timeout_s: float) -> tuple[bytes, str]:
        """A Predict's answer, and what the server says of its times; one that handles no more calls now is asked
        again, a little later each time."""
        config = self._config
        request = request_bytes(config.model_name, config.signature_name, image)
        end_s = self._loop.time() + timeout_s
        pause_s = BUSY_PAUSE_S
        while True:
            try:
                left_s = max(0.001, end_s - self._loop.time())
                call = self._predict(request, timeout=left_s, metadata=camera.predict_metadata)
                answer: bytes = await call
                return answer, str((await call.trailing_metadata()).get(SERVER_TIMING, ""))
            except grpc.aio.AioRpcError as error:
                if error.details() != BUSY:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_BUSY_PAUSE_S)

    async def availability(self) -> str:
        """ "" if the model is available at the server, else why not."""
        config = self._config
        request = tfs.GetModelStatusRequest(model_spec=tfs.ModelSpec(name=config.model_name))
        try:
            data = await self._status(request, timeout=max(1.0, config.health_interval_s))
            self._problem = self._version_problem(tfs.GetModelStatusResponse.FromString(data))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return self._problem  # it is there and busy: what it said last still holds
            self._problem = plain_error(f"{error.code().name}: {error.details()}")
        except Exception as error:  # upb's DecodeError has no public base that is stable across versions
            self._problem = f"its answer to GetModelStatus makes no sense: {error}"
        return self._problem

    def _version_problem(self, answer: tfs.GetModelStatusResponse) -> str:
        states = [version.state for version in answer.model_version_status]
        if tfs.ModelVersionStatus.AVAILABLE in states:
            return ""
        known = tfs.ModelVersionStatus.State
        names = sorted(
            {known.Name(state) if state in known.values() else f"state {state}" for state in states}
        )
        return f"no version of model {self._config.model_name!r} is available ({', '.join(names) or 'none known'})"

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def server_timing(told: str) -> tuple[float, float]:
    """Seconds at the model server, and of them in the model, as it tells them; 0 where it does not, as TF Serving.

    >>> server_timing("total;dur=12.5, infer;dur=11")
    (0.0125, 0.011)
    """
    match = _TIMES.fullmatch(told)
    return (float(match[1]) / 1e3, float(match[2]) / 1e3) if match else (0.0, 0.0)


def detections_of(answer: bytes) -> pb.Detections:
    """A Predict's answer as the cameras get it. Raises ValueError."""
    got = parse_response(answer)
    return pb.Detections(
        model_name=got.model_name,
        model_version=got.model_version,
        boxes=got.boxes,
        scores=got.scores,
        class_ids=got.class_ids,
        labels=got.labels,
    )
