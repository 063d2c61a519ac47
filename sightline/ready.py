"""Wait until a service of the stack says that it serves."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ASK_EVERY_S = 0.1
ANSWER_S = 1.0  # for an answer, and for the connection before it: `check` is asked as often at least


def wait_serving(target: str, timeout_s: float, check: Callable[[], None]) -> None:
    """Return once grpc.health.v1 at `target` (host:port) answers SERVING; calls `check` in between, which may raise.

    Raises TimeoutError after `timeout_s` seconds.
    """
    end_s = time.monotonic() + timeout_s
    # A channel that failed to connect waits before it tries again: here for no longer than between two questions.
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    with grpc.insecure_channel(target, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < end_s:
            check()
            try:
                # One that waits for the connection: nobody else looks after the channel, or only every 5 s, with gRPC's
                # pollers of before 1.80 (client/__init__.py).
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S, wait_for_ready=True)
            except grpc.RpcError:
                pass
            else:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            time.sleep(ASK_EVERY_S)
    raise TimeoutError(f"{target} did not serve within {timeout_s:.0f} s")
