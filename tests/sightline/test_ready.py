"""Waiting for a service of the stack."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import client  # noqa: F401  # which chooses gRPC's pollers
from model.child import bound
from sightline.ready import wait_serving
from tests.sightline.stack import free_ports

LATE = """
import sys, time, grpc
from concurrent.futures import ThreadPoolExecutor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server, servicer = grpc.server(ThreadPoolExecutor(2)), health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
time.sleep(6)
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
print(time.monotonic(), flush=True)
server.wait_for_termination()
"""


class Gone(Exception):
    """What is waited for has ended."""


@pytest.mark.alone
def test_a_service_that_comes_late_is_seen_soon() -> None:
    """As a model server does, whose start takes seconds."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        bound([sys.executable, "-c", LATE, str(port)]), stdout=subprocess.PIPE, text=True
    )
    try:
        wait_serving(f"127.0.0.1:{port}", 30.0, lambda: None)
        seen_s = time.monotonic()
        assert process.stdout is not None
        assert seen_s - float(process.stdout.readline()) < 0.5
    finally:
        process.kill()
        process.communicate()


def test_one_that_ends_is_told_at_once_and_one_that_does_not_come_in_time() -> None:
    (port,) = free_ports(1)
    started_s = time.monotonic()

    def check() -> None:
        if time.monotonic() - started_s > 0.2:
            raise Gone

    with pytest.raises(Gone):
        wait_serving(f"127.0.0.1:{port}", 20.0, check)
    assert time.monotonic() - started_s < 2.0
    with pytest.raises(TimeoutError, match=f"127.0.0.1:{port} did not serve within 1 s"):
        wait_serving(f"127.0.0.1:{port}", 1.0, lambda: None)
