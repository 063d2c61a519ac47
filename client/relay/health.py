"""grpc.health.v1 that tells the truth: SERVING only while the model behind the relay is available."""

from __future__ import annotations

import asyncio
import logging

from grpc_health.v1 import health, health_pb2

from client.relay.board import Board
from client.relay.metrics import RelayMetrics
from client.relay.predictor import Predictor

log = logging.getLogger("sightline.relay")
SERVICES = ("", "sightline.v1.Relay")
# SERVING as long as the event loop runs, whatever the model: who restarts a relay asks for this name, or an outage of
# the model servers would restart every relay as well.
LIVENESS = "liveness"


async def watch_model(
    servicer: health.aio.HealthServicer,
    predictor: Predictor,
    metrics: RelayMetrics,
    board: Board,
    interval_s: float,
) -> None:
    """Ask the model server again and again, and say what it says; each change is logged."""
    await servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    before: str | None = None
    while True:
        try:
            problem = await predictor.availability()
        except Exception as error:  # a bug must not leave the health as it was for ever
            problem = f"the relay cannot tell: {type(error).__name__}: {error}"
        if problem != before:
            log.info("model server: %s", problem or "AVAILABLE")
            before = problem
        board.problem = problem
        metrics.model_available.set(not problem)
        await set_health(servicer, serving=not problem)
        await asyncio.sleep(interval_s)


async def set_health(servicer: health.aio.HealthServicer, *, serving: bool) -> None:
    """Set the state of every service that the relay has."""
    status = health_pb2.HealthCheckResponse
    for service in SERVICES:
        await servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
