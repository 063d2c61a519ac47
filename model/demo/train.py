"""Train the demo weights: a YOLOv8n from scratch on the synthetic street.

    python -m model.demo.train --out yolov8n-street.pt --seed 1 --iterations 2800 --checkpoint state.pt
    python -m model.demo.train --out yolov8n-street.pt --seed 1 --iterations 4000 --checkpoint state.pt

That is how the shipped weights were made: 2800 iterations, then on from there to 4000, with the rate up and down once
more. It took 67 and 23 minutes of wall time on two busy cores, on one or two threads, and in the first part the
street's puddles lay a little elsewhere. `python -m model.demo.evaluate` tells what they reach; what they miss is
mostly small.

The learning rate warms up, stays, and falls to nothing over the last quarter, so a run that was stopped before that
can go on with another number of iterations (`--checkpoint`). Batch number i depends on the seed and i only. The same
machine, threads and libraries repeat a run; others round sums differently and come to about the same.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")  # before ultralytics is imported: it must not use the network
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # threads that wait spinning starve each other on a shared machine

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

from model.street import CLASS_NAMES
from model.street.dataset import CHUNK, Batch, training_chunk

_WARMUP, _DECAY = 150, 0.25  # iterations; the share of all iterations
_WEIGHT_DECAY, _MAX_NORM = 0.02, 10.0
_EMA_DECAY = 0.9985


class _Chunks(Dataset):  # type: ignore[misc]  # torch is untyped here
    """Training batches by the chunk, rendered in a worker process."""

    def __init__(self, seed: int, first: int, count: int, size: float) -> None:
        self._seed, self._first, self._count, self._size = seed, first, count, size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> list[Batch]:
        if index >= self._count:
            raise IndexError(index)
        return training_chunk(self._seed, self._first + index, self._size)


def new_model() -> DetectionModel:
    """An untrained YOLOv8n for the street's classes."""
    model = DetectionModel("yolov8n.yaml", ch=3, nc=len(CLASS_NAMES), verbose=False)
    model.names = dict(enumerate(CLASS_NAMES))
    model.args = get_cfg()
    return model


def _optimizer(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW; biases and batch norms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999))


def rate_factor(iteration: int, iterations: int) -> float:
    """The learning rate at an iteration as a share of the highest one."""
    left = (iterations - iteration) / max(1.0, _DECAY * iterations)
    return min(1.0, (iteration + 1) / _WARMUP, max(0.01, left))


def _float(value: Any) -> Any:
    """The network's bf16 outputs as float32, however they are nested."""
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {k: _float(v) for k, v in value.items()}
    return [_float(v) for v in value]


def _batches(seed: int, start: int, stop: int, size: float, workers: int) -> Iterator[Batch]:
    first = start // CHUNK
    chunks = _Chunks(seed, first, (stop + CHUNK - 1) // CHUNK - first, size)
    loader = DataLoader(
        chunks,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        collate_fn=lambda x: x,
    )
    number = first * CHUNK
    for chunk in loader:
        for batch in chunk:
            if start <= number < stop:
                yield batch
            number += 1


def _step(model: nn.Module, loss_of: Any, batch: Batch, optimizer: torch.optim.Optimizer) -> list[float]:
    """One step; the losses of box, class and distribution."""
    images = (
        torch.from_numpy(batch.images_rgb).permute(0, 3, 1, 2).float().div_(255)
    )  # [N, 3, H, W], channels last
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(images)
    truth = {
        "img": images,
        "batch_idx": torch.from_numpy(batch.image_index).float(),
        "cls": torch.from_numpy(batch.class_ids).float()[:, None],
        "bboxes": torch.from_numpy(batch.boxes_xywh),
    }
    losses, parts = loss_of(_float(outputs), truth)
    optimizer.zero_grad(set_to_none=True)
    (losses.sum() / len(images)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), _MAX_NORM)
    optimizer.step()
    return [float(part) for part in parts.values()]


def _follow(average: nn.Module, model: nn.Module, iteration: int) -> None:
    """The running mean of the weights, which is what is kept; young means forget faster."""
    decay = min(_EMA_DECAY, (1 + iteration) / (20 + iteration))
    now = model.state_dict()  # detached, so nothing here is recorded for the backward pass
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(now[name], 1 - decay)
        else:
            value.copy_(now[name])


def save_weights(model: DetectionModel, path: Path) -> None:
    """Write an Ultralytics checkpoint: the module in half precision, nothing else but its version's marks."""
    kept = copy.deepcopy(model).half().eval()
    for parameter in kept.parameters():
        parameter.requires_grad_(False)
    kept.args, kept.criterion, kept.yaml_file = {"task": "detect", "imgsz": 640}, None, "yolov8n.yaml"
    part = path.with_suffix(".part")
    torch.save(
        {"model": kept, "ema": None, "epoch": -1, "train_args": {"task": "detect", "imgsz": 640}}, part
    )
    os.replace(part, path)


def train(
    out: Path,
    seed: int,
    iterations: int,
    *,
    rate: float = 2e-3,
    checkpoint: Path | None = None,
    size: float = 1.0,
    workers: int = 1,
    keep_every: int = 250,
) -> list[float]:
    """Train and write the weights to `out`; returns the mean losses of the last iterations.

    checkpoint: a file that keeps the state every `keep_every` iterations, and from which a stopped run goes on.
    """
    torch.manual_seed(seed)
    model = new_model().to(memory_format=torch.channels_last).train()
    loss_of, average, optimizer, start = (
        v8DetectionLoss(model),
        copy.deepcopy(model),
        _optimizer(model, rate),
        0,
    )
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["iteration"]
    began, recent = time.monotonic(), []
    for iteration, batch in enumerate(_batches(seed, start, iterations, size, workers), start):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(iteration, iterations)
        recent.append(_step(model, loss_of, batch, optimizer))
        _follow(average, model, iteration)
        done = iteration + 1
        if done % 50 == 0:
            box, cls, dfl = (sum(part) / len(recent[-50:]) for part in zip(*recent[-50:], strict=True))
            pace = (time.monotonic() - began) / (done - start)
            print(
                f"{done}/{iterations} box {box:.3f} cls {cls:.3f} dfl {dfl:.3f} {pace:.2f} s/it", flush=True
            )
        if checkpoint is not None and done % keep_every == 0:
            state = {"model": model.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "iteration": done}
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
            save_weights(average, out)
    save_weights(average, out)
    return [sum(part) / len(recent[-50:]) for part in zip(*recent[-50:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=2800)
    parser.add_argument("--checkpoint", type=Path, help="state to go on from; written every 250 iterations")
    args = parser.parse_args()
    train(args.out, args.seed, args.iterations, checkpoint=args.checkpoint)


if __name__ == "__main__":
    main()
