"""Calls per second of many callers, merged into batches and not."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from client.predict import request_bytes
from model import contract
from sightline.bench.images import SIZES_WH, jpegs
from sightline.bench.serve import serving
from sightline.bench.tiny_models import DENSE, LAYERS, request, save_dense
from sightline.bench.worker import Detect, Factory, take_turns
from sightline.models import ServedModel

CALLERS = 16
# A few sizes and no others: oneDNN makes code for each size of batch, on each thread.
PARAMETERS = """\
max_batch_size { value: 4 }
batch_timeout_micros { value: 5000 }
allowed_batch_sizes: [1, 2, 4]
"""
THREADS = "--grpc_max_threads=64"  # the default, four for each core, would refuse some of them


@dataclass(frozen=True)
class Calls:
    """Serialized PredictRequests to `target`, a connection for each caller: they are different clients."""

    target: str

    def __call__(self, callers: int) -> list[Detect]:
        import grpc

        from client.channel import CHANNEL_OPTIONS
        from client.predict import PREDICT

        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]

        def caller() -> Detect:
            predict = grpc.insecure_channel(self.target, options).unary_unary(PREDICT)
            return lambda data: predict(data, timeout=60)

        return [caller() for _ in range(callers)]


def run(model: ServedModel, folder: Path, rounds: int, frames: int, console: Console) -> None:
    """Each model on two servers that take turns, `frames` calls per caller and turn; print their rates."""
    save_dense(folder / "dense" / "1")
    images = [
        request_bytes(contract.MODEL_NAME, contract.SIGNATURE, jpeg)
        for jpeg in jpegs(SIZES_WH["16:9 1280x720"])
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    console.print(f"{CALLERS} callers, calls/s")
    for title in ("model", "each by itself", "batched", "share"):
        table.add_column(title, justify="left" if title == "model" else "right", no_wrap=True)
    dense = f"{LAYERS} dense layers of {DENSE}"
    for name, model_name, base, requests in (
        (dense, "dense", folder / "dense", [request("dense", DENSE)]),
        (f"YOLOv8n {model.meta.precision}", contract.MODEL_NAME, model.base, images),
    ):
        alone, batched = measure(model_name, base, folder, requests, rounds, frames)
        table.add_row(name, f"{alone:.1f}", f"{batched:.1f}", f"{100 * batched / alone:.0f} %")
    console.print(table)


def measure(
    name: str, base: Path, folder: Path, requests: list[bytes], rounds: int, calls: int
) -> tuple[float, float]:
    """Calls per second of CALLERS callers without and with batching, the median of `rounds` turns of each."""
    parameters = folder / "batching_parameters"
    parameters.write_text(PARAMETERS)
    batched_flags = ("--enable_batching", f"--batching_parameters_file={parameters}")
    with ExitStack() as stack:
        ways: dict[str, Factory] = {
            way: Calls(
                stack.enter_context(serving(name, base, folder / f"{name}-{way}.log", THREADS, *flags))
            )
            for way, flags in (("alone", ()), ("batched", batched_flags))
        }
        turns = take_turns(ways, CALLERS, requests, rounds, calls)
    alone, batched = (statistics.median(turn.frames_per_s for turn in turns[way]) for way in ways)
    return alone, batched
