"""Batching: what merges, what splits, what is refused, and what a bad row does to the others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from serving import batching_config, sessions
from serving.batch_merge import merge
from serving.batching import BatchedModel
from serving.batching_config import BatchingOptions
from serving.errors import Code, ServingError
from serving.metrics import BatchMetrics
from tests.serving import models

SPLIT = "enable_large_batch_splitting { value: true } max_batch_size { value: 8 } max_execution_batch_size { value: 9 }"
WAIT = 400_000  # µs: long enough for calls on a busy machine to meet in one batch


class Counted:
    """A batched model, and the sizes of the batches that it ran."""

    def __init__(self, path: Path, **options: Any) -> None:
        model = sessions.load(str(path))
        self.sizes: list[int] = []
        self.registry = CollectorRegistry()
        run = model.run

        def counted(signature: str, inputs: Any, *rest: Any) -> dict[str, NDArray[Any]]:
            self.sizes.append(len(next(iter(inputs.values()))))
            return run(signature, inputs, *rest)

        model.run = counted  # type: ignore[method-assign, assignment]
        self.batched = BatchedModel(model, BatchingOptions(**options), BatchMetrics(self.registry))

    def floats(self, *values: float, timeout_s: float | None = None) -> list[float]:
        x = np.array(values, np.float32)
        return list(self.batched.run("serving_default", {"x": x}, None, timeout_s)["y"])


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Results, or ServingErrors, of calls made at once."""

    def one(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ServingError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_calls_merge_and_each_gets_its_own_rows(model_dir: Path) -> None:
    model = Counted(model_dir / "affine" / "1", max_batch_size=6, timeout_micros=5_000_000, threads=1)
    first, second, third = together(
        lambda: model.floats(2, 4), lambda: model.floats(6), lambda: model.floats(8, 10, 12)
    )
    assert model.sizes == [6]
    assert (first, second, third) == ([3, 4], [5], [6, 7, 8])
    runs = model.registry.get_sample_value(":tensorflow:serving:batching_session:wrapped_run_count_total")
    assert runs == 1


def test_batches_are_padded_to_an_allowed_size(model_dir: Path) -> None:
    model = Counted(model_dir / "affine" / "1", max_batch_size=8, allowed_batch_sizes=(4, 8), threads=1)
    assert model.floats(2, 4, 6) == [3, 4, 5]
    assert model.floats(1, 2, 3, 4, 5) == [2.5, 3, 3.5, 4, 4.5]
    assert model.sizes == [4, 8]


def test_signatures_do_not_mix(model_dir: Path) -> None:
    model = Counted(model_dir / "strings" / "1", max_batch_size=2, timeout_micros=WAIT, threads=1)
    word = np.array([b"abc"], object)
    echo, heights = together(
        lambda: model.batched.run("serving_default", {"s": word}, ["length"]),
        lambda: model.batched.run("heights", {"jpeg": word}),
    )
    assert echo["length"].tolist() == [3]
    assert isinstance(heights, ServingError)
    assert model.sizes == [1, 1]


def test_outputs_that_were_not_asked_for_are_not_answered(model_dir: Path) -> None:
    model = Counted(model_dir / "strings" / "1", max_batch_size=2, timeout_micros=5_000_000, threads=1)
    word = np.array([b"abc"], object)
    one, every = together(
        lambda: model.batched.run("serving_default", {"s": word}, ["length"]),
        lambda: model.batched.run("serving_default", {"s": word}),
    )
    assert set(one) == {"length"}
    assert set(every) == {"length", "s", "s_bytes"}
    assert model.sizes == [2]


def test_a_large_request_is_split_only_when_asked(model_dir: Path) -> None:
    path = model_dir / "affine" / "1"
    whole = Counted(path, max_batch_size=8, threads=1)
    with pytest.raises(ServingError) as raised:
        whole.floats(*range(9))
    assert str(raised.value) == ("INVALID_ARGUMENT: Task size 9 is larger than maximum input batch size 8")
    split = Counted(path, max_batch_size=10, split=True, max_execution_batch_size=4, threads=1)
    assert split.floats(*range(0, 20, 2)) == list(range(2, 12))
    assert sorted(split.sizes) == [2, 4, 4]


def test_a_full_queue_is_said(model_dir: Path) -> None:
    model = Counted(
        model_dir / "affine" / "1", max_batch_size=4, timeout_micros=WAIT, threads=1, max_enqueued_batches=1
    )
    results = together(*(lambda: model.floats(2, 4, 6) for _ in range(6)))
    errors = [result for result in results if isinstance(result, ServingError)]
    assert errors
    for error in errors:
        assert str(error) == (
            "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 1 "
            "batches enqueued and max_enqueued_batches is 1"
        )
    assert [3, 4, 5] in results


def test_a_call_that_waited_too_long(model_dir: Path) -> None:
    model = Counted(model_dir / "affine" / "1", max_batch_size=4, timeout_micros=100_000, threads=1)
    with pytest.raises(ServingError) as raised:
        model.floats(2, timeout_s=0.01)
    assert str(raised.value) == "RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue"
    assert model.floats(2, timeout_s=20) == [3]


@pytest.mark.parametrize("isolate", [False, True])
def test_a_poisoned_row(model_dir: Path, isolate: bool) -> None:
    model = Counted(
        model_dir / "strings" / "1", max_batch_size=3, timeout_micros=5_000_000, threads=1, isolate_failures=isolate
    )  # fmt: skip
    good = np.array([models.jpeg(8), models.jpeg(16)], object)
    bad = np.array([b"no JPEG"], object)
    first, second = together(
        lambda: model.batched.run("heights", {"jpeg": good}),
        lambda: model.batched.run("heights", {"jpeg": bad}),
    )
    assert isinstance(second, ServingError)
    assert second.code == Code.INVALID_ARGUMENT
    if isolate:
        assert first["h"].tolist() == [8, 16]
        assert sorted(model.sizes) == [1, 2, 3]
    else:
        assert first is second or str(first) == str(second)


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        ("add", {"a": np.zeros(()), "b": np.zeros((1, 2))}, "Batching Run() input tensors must have at least"),
        ("add", {"a": np.zeros((1, 2)), "b": np.zeros((2, 2))}, "Batching Run() input tensors must have equal 0th"),
        ("add", {}, "Batching Run() must have at least one input tensor"),
        ("add", {"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}, "Batched output tensor has 0 dimensions"),
    ],
)  # fmt: skip
def test_what_cannot_be_batched(model_dir: Path, signature: str, inputs: Any, text: str) -> None:
    model = Counted(model_dir / "tf1" / "00000123", threads=1)
    with pytest.raises(ServingError) as raised:
        model.batched.run(signature, {name: array.astype(np.float32) for name, array in inputs.items()})
    assert raised.value.message.startswith(text)


def test_no_rows_at_all(model_dir: Path) -> None:
    assert Counted(model_dir / "affine" / "1").floats() == []


def test_padding_of_variable_lengths() -> None:
    tasks = [{"x": np.ones((1, 2), np.float32)}, {"x": np.ones((1, 3), np.float32)}]
    with pytest.raises(
        ServingError, match="Tensors with name 'x:0' from different tasks have different shapes"
    ):
        merge(tasks, {"x": "x:0"}, 0, BatchingOptions())
    merged = merge(tasks, {"x": "x:0"}, 1, BatchingOptions(pad_variable_length_inputs=True))
    assert merged["x"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    with pytest.raises(ServingError, match="concat"):
        merge([{"x": np.ones(1)}, {"x": np.ones(1, np.int32)}], {"x": "x:0"}, 0, BatchingOptions())


def test_a_dropped_model_is_freed(model_dir: Path) -> None:
    batched = Counted(model_dir / "affine" / "1").batched
    gone = weakref.ref(batched)
    del batched
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "Last entry in allowed_batch_sizes must match max_b"),
        ("allowed_batch_sizes: [8, 4]", "allowed_batch_sizes entries must be monotonically increasing"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("max_batch_size: 8", "Invalid protobuf file: '{}'"),
        (SPLIT, "max_execution_batch_size should be less"),
    ],
)  # fmt: skip
def test_parameters_are_checked(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "batching"
    path.write_text(text)
    with pytest.raises(ServingError) as raised:
        batching_config.read_batching_parameters(str(path))
    assert raised.value.message.startswith(error.format(path))


def test_parameters_of_a_model(tmp_path: Path) -> None:
    common = BatchingOptions(threads=3, thread_pool_name="pool", per_model=True)
    assert batching_config.for_model(common, str(tmp_path)) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 10 }")
    own = batching_config.for_model(common, str(tmp_path))
    assert own is not None
    assert (own.max_batch_size, own.threads, own.thread_pool_name) == (10, 3, "pool")
