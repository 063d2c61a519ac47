"""What the relay costs: a null model server, called straight and through a relay, interleaved in one run.

`python -m client.bench` prints the figures; `measure_relay` gives them to other programs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

from client.channel import CHANNEL_OPTIONS
from client.predict import PREDICT, parse_response, request_bytes
from client.relayed import DETECT
from client.security import Security
from client.wire import relay_pb2 as pb
from model.child import bound
from model.contract import MODEL_NAME, SIGNATURE

CPU_SECONDS, MEMORY_BYTES = "process_cpu_seconds_total", "process_resident_memory_bytes"

_RUN_RELAY = """
import sys
from client.relay import RelayConfig, run
sys.exit(run(RelayConfig(target=sys.argv[1], listen="127.0.0.1:0", http_port=0)))
"""


@dataclass(frozen=True)
class RelayCost:
    """Milliseconds of one frame at a time (image bytes to parsed result), and a relay's rate when flooded."""

    image_bytes: int
    direct_p50_ms: float
    direct_p99_ms: float
    relayed_p50_ms: float
    relayed_p99_ms: float
    cameras: int
    frames_per_s: float  # wall clock; client, relay and null server share the machine's cores
    frames_per_cpu_s: float  # of the relay's own CPU time

    @property
    def added_p50_ms(self) -> float:
        """What the relay adds to one frame."""
        return self.relayed_p50_ms - self.direct_p50_ms

    def __str__(self) -> str:
        return (
            f"one frame at a time, {self.image_bytes // 1000} KB, p50 (p99) ms: "
            f"direct {self.direct_p50_ms:.2f} ({self.direct_p99_ms:.2f}), "
            f"through the relay {self.relayed_p50_ms:.2f} ({self.relayed_p99_ms:.2f}), "
            f"added {self.added_p50_ms:.2f}\n"
            f"{self.cameras} cameras at full speed: {self.frames_per_s:.0f} frames/s on this machine, "
            f"{self.frames_per_cpu_s:.0f} per second of the relay's CPU"
        )


def measure_relay(image_bytes: int = 100_000, frames: int = 1000, cameras: int = 4) -> RelayCost:
    """Start a null server and a relay in processes of their own, and measure. Takes some 5 s at the defaults."""
    image = os.urandom(image_bytes)
    with null_server() as server, relay_process(server) as (relay, metrics_url):
        direct_ms, relayed_ms = _one_at_a_time(server, relay, image, frames)
        cpu_s, started_s = metric(metrics_url, CPU_SECONDS), time.perf_counter()
        _flood(relay, image, frames, cameras)
        wall_s, cpu_s = time.perf_counter() - started_s, metric(metrics_url, CPU_SECONDS) - cpu_s
    return RelayCost(
        image_bytes,
        statistics.median(direct_ms),
        _p99(direct_ms),
        statistics.median(relayed_ms),
        _p99(relayed_ms),
        cameras,
        cameras * frames / wall_s,
        cameras * frames / cpu_s,
    )


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _one_at_a_time(server: str, relay: str, image: bytes, frames: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each frame, straight to the server and through the relay in turn."""
    direct_ms, relayed_ms = [], []
    with grpc.insecure_channel(server, CHANNEL_OPTIONS) as straight, RelayCaller(relay) as relayed:
        predict = straight.unary_unary(PREDICT)
        for number in range(frames + 50):
            started_s = time.perf_counter()
            parse_response(predict(request_bytes(MODEL_NAME, SIGNATURE, image), timeout=10)).detections()
            between_s = time.perf_counter()
            relayed.detect(image)
            if number >= 50:  # warm by now
                direct_ms.append((between_s - started_s) * 1e3)
                relayed_ms.append((time.perf_counter() - between_s) * 1e3)
    return direct_ms, relayed_ms


class RelayCaller:
    """One stream to a relay, used for one frame at a time: the least that a client can do."""

    def __init__(self, target: str, camera_id: str = "bench", security: Security | None = None) -> None:
        self._camera_id, self._frame_id = camera_id, 0
        security = security or Security()
        self._channel = security.channel(target, CHANNEL_OPTIONS)
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        detect = self._channel.stream_stream(DETECT, response_deserializer=pb.Result.FromString)
        self._results = detect(iter(self._requests.get, None), metadata=security.metadata(camera_id))

    def send(self, image: bytes) -> None:
        """Send one frame that waits its turn."""
        self._frame_id += 1
        message = pb.Frame(camera_id=self._camera_id, frame_id=self._frame_id, image=image, wait=True)
        self._requests.put(message.SerializeToString())

    def receive(self) -> pb.Result:
        """The next result. Raises RuntimeError if its frame was not delivered."""
        result: pb.Result = next(self._results)
        if not result.HasField("delivered"):
            raise RuntimeError(f"expected detections, got {result}")
        return result

    def detect(self, image: bytes) -> pb.Result:
        """One frame there and back."""
        self.send(image)
        return self.receive()

    def __enter__(self) -> RelayCaller:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._results.cancel()
        self._channel.close()


def _flood(relay: str, image: bytes, frames: int, cameras: int) -> None:
    """`cameras` streams send `frames` frames each, four of them under way at a time."""

    def camera(number: int) -> None:
        with RelayCaller(relay, f"bench{number}") as caller:
            for sent in range(frames):
                caller.send(image)
                if sent >= 4:
                    caller.receive()
            for _ in range(min(4, frames)):
                caller.receive()

    _in_threads([lambda number=number: camera(number) for number in range(cameras)])  # type: ignore[misc]


def _in_threads(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def metric(metrics_url: str, name: str) -> float:
    """A value on a Prometheus page."""
    page = urllib.request.urlopen(metrics_url, timeout=10).read().decode()
    return float(next(line for line in page.splitlines() if line.startswith(f"{name} ")).split()[1])


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        bound([sys.executable, *arguments]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=15)


@contextlib.contextmanager
def null_server() -> Iterator[str]:
    """The address of a model server that answers at once."""
    with _process("-m", "client.null_server") as child:
        assert child.stdout is not None
        yield f"127.0.0.1:{int(child.stdout.readline())}"


@contextlib.contextmanager
def relay_process(target: str) -> Iterator[tuple[str, str]]:
    """A relay's address and the URL of its metrics, as it logs them."""
    with _process("-c", _RUN_RELAY, target) as child:
        assert child.stderr is not None
        listens, metrics = child.stderr.readline(), child.stderr.readline()
        yield listens.split("listens on ")[1].split(",")[0], metrics.split(" at ")[1].strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-bytes", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--cameras", type=int, default=4)
    given = parser.parse_args()
    print(measure_relay(given.image_bytes, given.frames, given.cameras))
