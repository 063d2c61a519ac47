"""Shadow comparison: a share of the frames is also sent to the candidate, and what the two models see is compared.

Nobody waits for it. A frame is shadowed after its camera's answer is settled; where frames wait for the model server
there is no shadow at all, and never are more than MAX_IN_FLIGHT under way. The candidate is chosen by the header
`version`, which the mesh routes (istio/base/serving); its answers reach no camera.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from client.channel import CHANNEL_OPTIONS
from client.predict import PREDICT, request_bytes
from client.relay.camera import Camera, camera_header
from client.relay.config import RelayConfig
from client.relay.predictor import detections_of
from client.relay.shadow_compare import Difference, compare
from client.relay.shadow_evidence import KEPT_S, WAIT, Evidence, window
from client.relay.shadow_gate import AgreementGates, checks_of, summary
from client.relay.shadow_metrics import ShadowMetrics
from client.relay.shadow_pairs import Pairs
from client.relay.slot import Slot
from client.wire import relay_pb2 as pb

MAX_IN_FLIGHT = 2
TIMEOUT_S = 2.0  # no camera waits, but a candidate that takes longer is broken
VERSION_HEADER = "version"
# Tells shadows from frames that a stream's own `version` sends to the candidate; a rollout routes by it.
SHADOW_HEADER = "sightline-shadow"
FRESH_S = 2.0  # so long it is taken for granted which version the candidate is; then a shadow finds out

log = logging.getLogger("sightline.relay")


class Shadow:
    """Sends, compares, remembers. Runs on the relay's event loop; comparisons in a thread of their own.

    `waiting`: whether frames wait for the model server now.
    """

    def __init__(self, config: RelayConfig, metrics: ShadowMetrics, waiting: Callable[[], bool]) -> None:
        self._config, self.metrics, self._waiting = config, metrics, waiting
        self._share = config.shadow_percent / 100
        self.evidence = Evidence()
        self.pairs = Pairs(config.shadow_pairs)
        self._candidate: tuple[int, float] | None = None  # what version answered the last shadow, and when
        self.problem = ""  # why the newest shadow was not compared
        # A connection of its own: a shadow must not take a frame's place in a flow-control window.
        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(config.shadow_target or config.target, options)
        self._predict = self._channel.unary_unary(PREDICT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, "shadow")
        self._known: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def offer(self, camera: Camera, image: bytes, slot: Slot) -> None:
        """A frame was delivered; a share of them goes to the candidate too."""
        if random.random() >= self._share or any(key == VERSION_HEADER for key, _ in camera.metadata):
            return
        stable = slot.result.delivered
        if stable.model_version == self._candidate_within(FRESH_S):
            # It answered the camera already: there is nothing to compare it with.
            self.metrics.skipped("candidate")
        elif self._waiting():
            self.metrics.skipped("load")
        elif len(self._tasks) >= MAX_IN_FLIGHT:
            self.metrics.skipped("busy")
        else:
            task = self._loop.create_task(self._run(camera.camera_id, image, stable, slot.predict_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def report(self, asked: dict[str, str], *, must: bool) -> dict[str, Any]:
        """What differs in the last `window_s` seconds, and the verdict over the limits among `asked`.

        Raises ValueError for wrong limits, and for none where there `must` be some.
        """
        limits = dict(asked)
        window_s = window(limits.pop("window_s", str(KEPT_S)))
        gates = AgreementGates.parse(limits) if limits or must else None
        blocks = self.evidence.blocks(self._loop.time(), window_s)
        found = summary(blocks, checks_of(blocks, gates) if gates else [])
        if self.problem and found["verdict"] == WAIT:
            found["reason"] += f" (the newest shadow failed: {self.problem})"
        stable, _ = self.evidence.versions or (None, None)
        versions = {"stable_version": stable, "candidate_version": self._candidate_within(window_s)}
        return {"enabled": True, **versions, "problem": self.problem, **found}

    def _candidate_within(self, seconds: float) -> int | None:
        """The version that the candidate was in the last seconds; None: not known. A rollout the other way makes the
        stable version the candidate."""
        if self._candidate is None or self._loop.time() - self._candidate[1] > seconds:
            return None
        return self._candidate[0]

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=True)
        await self._channel.close()

    async def _run(self, camera_id: str, image: bytes, stable: pb.Detections, stable_s: float) -> None:
        began_s = self._loop.time()
        try:
            candidate = detections_of(await self._ask(camera_id, image))
            took_s = self._loop.time() - began_s
            await self._compare(camera_id, image, (stable, candidate), (stable_s, took_s))
        except grpc.aio.AioRpcError as error:
            self._failed(error.code().name, error.details() or "")
        except ValueError as error:
            self._failed("INTERNAL", str(error))
        except Exception as error:
            log.exception("a shadow failed at the relay")
            self._failed("INTERNAL", f"{type(error).__name__} at the relay")

    async def _ask(self, camera_id: str, image: bytes) -> bytes:
        config = self._config
        request = request_bytes(config.model_name, config.signature_name, image)
        metadata = (
            camera_header(camera_id),
            (VERSION_HEADER, config.shadow_version),
            (SHADOW_HEADER, "true"),
        )
        answer: bytes = await self._predict(request, timeout=TIMEOUT_S, metadata=metadata)
        return answer

    async def _compare(
        self,
        camera_id: str,
        image: bytes,
        found: tuple[pb.Detections, pb.Detections],
        took_s: tuple[float, float],
    ) -> None:
        stable, candidate = found
        versions = stable.model_version, candidate.model_version
        self._candidate = candidate.model_version, self._loop.time()
        if versions[0] == versions[1]:  # else a relay without a mesh would find every candidate perfect
            if self.evidence.versions is not None:  # the candidate has all frames now
                self.metrics.skipped("candidate")
                return
            self._failed(
                "SAME_VERSION",
                f"version {versions[1]} answers with and without the header version: {self._config.shadow_version}",
            )
            return
        difference: Difference = await self._loop.run_in_executor(
            self._thread, compare, stable, candidate, self._known
        )
        self.problem = ""
        if self.evidence.versions != versions:
            self.pairs.clear()  # what two others disagreed on is history
        now_s = self._loop.time()
        self.evidence.add(now_s, versions, difference, *took_s)
        self.metrics.compared(difference, *took_s)
        self.pairs.offer(now_s, camera_id, image, found, difference)

    def _failed(self, code: str, text: str) -> None:
        self.problem = f"{code}: {text}"
        self.metrics.failed(code)
