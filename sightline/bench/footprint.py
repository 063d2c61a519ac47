"""What one server and one relay need, as the manifests in k8s/ start them: memory at its highest, CPU per frame.

    python -m sightline.bench.footprint BASE_PATH...

Measured with the embedded server; TensorFlow's C++ server has no Python beside the same runtime.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from client.bare import Stream
from client.channel import CHANNEL_OPTIONS
from client.predict import PREDICT, parse_response, request_bytes
from client.security import Security
from model import contract
from sightline.bench.images import SIZES_WH, jpegs
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Children
from sightline.ready import wait_serving
from sightline.stack import READY_TIMEOUT_S

SECONDS = 20.0
CALLERS = 4
THREADS = 2  # k8s/base gives a server 2 CPUs and as many threads
CAMERAS, FPS = 16, 15  # a relay pod's design load, see istio/base/serving/destination-rule-tf-serving.yaml


@dataclass(frozen=True)
class Footprint:
    """One process under load. `peak_mb`: resident, 10^6 bytes; `start_s`: until it was SERVING."""

    name: str
    start_s: float
    peak_mb: float
    cpus: float
    frames_per_s: float

    def __str__(self) -> str:
        return (
            f"{self.name:<24} ready in {self.start_s:4.1f} s  peak {self.peak_mb:5.0f} MB  {self.cpus:4.2f} CPUs  "
            f"{self.frames_per_s:5.1f} frames/s  {1e3 * self.cpus / self.frames_per_s:5.2f} CPU-ms a frame"
        )


def server(children: Children, base: Path) -> Footprint:
    """A model server under CALLERS callers that never pause, with 1280x720 JPEG frames."""
    target = f"{LOOPBACK}:{free_port()}"
    command = [
        *("-m", "sightline", "serve", f"--port={target.rpartition(':')[2]}"),
        *(f"--model_base_path={base.resolve()}", f"--model_name={contract.MODEL_NAME}"),
        *(f"--tensorflow_{kind}_op_parallelism={THREADS}" for kind in ("intra", "inter")),
        "--enable_grpc_healthcheck_service=true",
    ]
    images = [
        request_bytes(contract.MODEL_NAME, contract.SIGNATURE, i) for i in jpegs(SIZES_WH["16:9 1280x720"])
    ]

    def load() -> int:
        end_s = time.monotonic() + SECONDS

        def caller(number: int) -> int:
            done = 0
            while time.monotonic() < end_s:
                parse_response(predict(images[(number + done) % len(images)], timeout=30))
                done += 1
            return done

        with (
            grpc.insecure_channel(target, CHANNEL_OPTIONS) as channel,
            ThreadPoolExecutor(CALLERS) as callers,
        ):
            predict = channel.unary_unary(PREDICT)
            return sum(callers.map(caller, range(CALLERS)))

    return _measure(children, f"server {base.name}", command, target, load)


def relay(children: Children) -> Footprint:
    """A relay under CAMERAS paced cameras, in front of a server that answers at once."""
    image = jpegs(SIZES_WH["16:9 1280x720"])[0]
    null_port, target = free_port(), f"{LOOPBACK}:{free_port()}"
    children.start("null", [sys.executable, "-m", "client.null_server", f"--port={null_port}"])
    command = ["-m", "sightline", "relay", f"--listen={target}", f"--target={LOOPBACK}:{null_port}", "--http-port=0",
               "--in-flight=32"]  # fmt: skip
    counts = [0] * CAMERAS

    def camera(number: int) -> None:
        due_s = time.monotonic() + number / CAMERAS / FPS
        end_s = due_s + SECONDS
        with Stream(target, f"camera-{number}", Security()) as caller:
            while due_s < end_s:
                time.sleep(max(0.0, due_s - time.monotonic()))
                caller.detect(image)
                counts[number] += 1
                due_s += 1 / FPS

    def load() -> int:
        threads = [threading.Thread(target=camera, args=(number,)) for number in range(CAMERAS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    return _measure(children, f"relay, {CAMERAS} cameras", command, target, load)


def _measure(
    children: Children, name: str, command: Sequence[str], target: str, load: Callable[[], int]
) -> Footprint:
    started_s = time.monotonic()
    children.start(name.replace("/", "-"), [sys.executable, *command])
    wait_serving(target, READY_TIMEOUT_S, children.check)
    start_s = time.monotonic() - started_s
    process = next(p for p in psutil.Process().children(recursive=True) if p.cmdline()[1:] == list(command))
    before, since_s = process.cpu_times(), time.monotonic()
    frames = load()
    after, wall_s = process.cpu_times(), time.monotonic() - since_s
    cpu_s = after.user + after.system - before.user - before.system
    (peak,) = [
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line
    ]
    return Footprint(name, start_s, int(peak.split()[1]) * 1024 / 1e6, cpu_s / wall_s, frames / wall_s)


def main() -> None:
    """Each in turn, so that none slows another."""
    jobs = [lambda children, base=base: server(children, Path(base)) for base in sys.argv[1:]]
    for job in [*jobs, relay]:
        with tempfile.TemporaryDirectory() as logs, Children(Path(logs)) as children:
            print(job(children), flush=True)


if __name__ == "__main__":
    main()
