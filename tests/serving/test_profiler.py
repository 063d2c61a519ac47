"""TensorFlow's own profiler client against the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving import profiler, profiler_pb2
from tests.serving.conftest import Server
from tests.serving.test_grpc import predict, request

PROFILE = "/tensorflow.ProfilerService/Profile"


def asked(folder: Path, duration_ms: int = 100, session: str = "run") -> Any:
    return profiler_pb2.ProfileRequest(
        duration_ms=duration_ms, repository_root=str(folder), session_id=session, host_name="host:1"
    )


def test_tensorflows_client_gets_a_profile_of_the_calls(server: Server, tmp_path: Path) -> None:
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            predict(server, request(x=np.ones(8, np.float32)))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        tf.profiler.experimental.client.trace(f"grpc://localhost:{server.port}", str(tmp_path), 300)
    finally:
        done.set()
        thread.join()
    (file,) = (tmp_path / "plugins" / "profile").glob(f"*/localhost_{server.port}.xplane.pb")
    assert b"SessionRun" in file.read_bytes()


def test_terminate_ends_a_profile_and_two_do_not_run_at_once(server: Server, tmp_path: Path) -> None:
    start = time.monotonic()
    running = threading.Thread(
        target=server.call, args=(PROFILE, asked(tmp_path, 20_000), profiler_pb2.ProfileResponse, 30)
    )
    running.start()
    time.sleep(0.3)
    with pytest.raises(grpc.RpcError) as caught:
        server.call(PROFILE, asked(tmp_path, session="other"), profiler_pb2.ProfileResponse)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INTERNAL,
        "Another profiling session active.",
    )
    terminate = profiler_pb2.TerminateRequest(session_id="run")
    server.call("/tensorflow.ProfilerService/Terminate", terminate, profiler_pb2.TerminateResponse)
    running.join()
    assert time.monotonic() - start < 10
    assert (tmp_path / "run" / "host_1.xplane.pb").stat().st_size > 0


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (asked(Path("/proc/no/such")), "PERMISSION_DENIED NOT_FOUND"),
        (asked(Path("/tmp"), 10**9), "INVALID_ARGUMENT"),
        (asked(Path("/tmp"), session=""), "INVALID_ARGUMENT"),
        (b"\xff", "INTERNAL"),
    ],
)
def test_profiles_that_cannot_be_made(server: Server, message: Any, code: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.call(PROFILE, message, profiler_pb2.ProfileResponse)
    assert caught.value.code().name in code


def test_monitor_is_unimplemented_as_in_tensorflow(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.call("/tensorflow.ProfilerService/Monitor", b"", profiler_pb2.ProfileResponse)
    assert (caught.value.code().name, caught.value.details()) == ("UNIMPLEMENTED", "unimplemented.")


@pytest.mark.parametrize(
    ("arguments", "served"),
    [
        (["--enable_profiler=false"], False),
        (["--host=0.0.0.0"], False),
        (["--host=0.0.0.0", "--enable_profiler"], True),
    ],
)
def test_when_it_is_served(
    start: Callable[..., Server], model_dir: Path, arguments: list[str], served: bool
) -> None:
    server = start("--model_name=affine", f"--model_base_path={model_dir / 'affine'}", *arguments)
    message = profiler_pb2.TerminateRequest(session_id="none")
    if served:
        server.call(f"/{profiler.SERVICE}/Terminate", message, profiler_pb2.TerminateResponse)
        return
    with pytest.raises(grpc.RpcError) as caught:
        server.call(f"/{profiler.SERVICE}/Terminate", message, profiler_pb2.TerminateResponse)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
