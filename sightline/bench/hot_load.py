"""What the loading of a new version does to the latency of the one that serves."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from client.channel import CHANNEL_OPTIONS
from client.predict import PREDICT, request_bytes
from client.wire import tfserving_pb2 as wire
from model import contract
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.serve import serving
from sightline.models import ServedModel

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
LOAD_S = 120.0
GOAL = 2.0  # p99 while a version loads, as a multiple of p99 when none does


@dataclass(frozen=True)
class Call:
    """When a call was due (time.perf_counter() seconds), and how long after that it was answered."""

    due_s: float
    took_s: float


def run(
    model: ServedModel, folder: Path, rounds: int, quiet_s: float, share: float, console: Console
) -> None:
    """Load a copy of the model as a next version `rounds` times under one caller that asks for `share` of the time of
    a server, `quiet_s` seconds of nothing in between; print latencies of both. Files go into `folder`."""
    images = jpegs(SIZES_WH["16:9 1280x720"])
    base = folder / contract.MODEL_NAME
    _publish(model, base, 1)
    with serving(contract.MODEL_NAME, base, folder / "hot-load.log") as target:
        quiet, loading = _measure(model, base, target, images, rounds, quiet_s, share)
    _print(quiet, loading, console)


def _publish(model: ServedModel, base: Path, version: int) -> None:
    """A copy of the model's version under another number; it appears whole."""
    hidden = base.parent / f"new-{version}"
    shutil.copytree(model.base / str(model.version), hidden)
    base.mkdir(exist_ok=True)
    os.rename(hidden, base / str(version))


def _measure(
    model: ServedModel,
    base: Path,
    target: str,
    images: list[bytes],
    rounds: int,
    quiet_s: float,
    share: float,
) -> tuple[list[float], list[float]]:
    """Seconds of the calls that were due while nothing loaded, and of those while a version did."""
    calls: list[Call] = []
    spans: list[tuple[float, float]] = []
    done = threading.Event()
    with grpc.insecure_channel(target, CHANNEL_OPTIONS) as channel:
        predict = channel.unary_unary(PREDICT)
        period_s = _time_of_a_call(predict, images) / share
        caller = threading.Thread(target=_call, args=(predict, images, period_s, calls, done))
        caller.start()
        try:
            for version in range(2, rounds + 2):
                time.sleep(quiet_s)
                start_s = time.perf_counter()
                _publish(model, base, version)
                _wait_available(channel, version)
                spans.append((start_s, time.perf_counter()))
                shutil.rmtree(base / str(version - 1))
            time.sleep(quiet_s)
        finally:
            done.set()
            caller.join()
    loading = [call.took_s for call in calls if any(start <= call.due_s <= end for start, end in spans)]
    quiet = [
        call.took_s
        for call in calls
        if not any(start - period_s <= call.due_s <= end + 1 for start, end in spans)
    ]
    return quiet, loading


def _time_of_a_call(predict: Any, images: list[bytes]) -> float:
    """Seconds of a Predict, the median of some after the first ones."""
    took = []
    for index in range(40):
        start_s = time.perf_counter()
        predict(
            request_bytes(contract.MODEL_NAME, contract.SIGNATURE, images[index % len(images)]), timeout=60
        )
        took.append(time.perf_counter() - start_s)
    return sorted(took[20:])[10]


def _call(
    predict: Any, images: list[bytes], period_s: float, calls: list[Call], done: threading.Event
) -> None:
    """A Predict every `period_s`; one that is late delays the next, whose latency counts from when they were due."""
    due_s = time.perf_counter()
    while not done.is_set():
        time.sleep(max(0.0, due_s - time.perf_counter()))
        predict(
            request_bytes(contract.MODEL_NAME, contract.SIGNATURE, images[len(calls) % len(images)]),
            timeout=60,
        )
        calls.append(Call(due_s, time.perf_counter() - due_s))
        due_s += period_s


def _wait_available(channel: Any, version: int) -> None:
    """Return once the version serves."""
    request = wire.GetModelStatusRequest()
    request.model_spec.name = contract.MODEL_NAME
    status = channel.unary_unary(
        STATUS, wire.GetModelStatusRequest.SerializeToString, wire.GetModelStatusResponse.FromString
    )
    end_s = time.monotonic() + LOAD_S
    while time.monotonic() < end_s:
        states = {one.version: one.state for one in status(request, timeout=60).model_version_status}
        if states.get(version) == wire.ModelVersionStatus.AVAILABLE:
            return
        time.sleep(0.02)
    raise RuntimeError(f"version {version} did not load within {LOAD_S:.0f} s")


def _print(quiet: list[float], loading: list[float], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    console.print("Predict while a new version loads")
    for title in ("", "calls", "p50 ms", "p99 ms", "most ms"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    p99 = {}
    for name, seconds in (("nothing loads", quiet), ("a version loads", loading)):
        ms = sorted(1e3 * one for one in seconds)
        p99[name] = ms[int(0.99 * (len(ms) - 1))]
        table.add_row(name, str(len(ms)), f"{ms[len(ms) // 2]:.1f}", f"{p99[name]:.1f}", f"{ms[-1]:.1f}")
    console.print(table)
    ratio = p99["a version loads"] / p99["nothing loads"]
    console.print(f"p99 {ratio:.2f} x (goal: at most {GOAL:g})")
