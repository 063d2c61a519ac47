"""What `sightline bench server` prints is measured: each part at a small size."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from client import http2
from client.bare import Unary
from client.predict import PREDICT
from model.export import read_metadata
from sightline.bench import batching, hot_load, server
from sightline.bench.serve import serving
from sightline.bench.tiny_models import request, save_noop
from sightline.models import ServedModel


@pytest.fixture(scope="module")
def console() -> Console:
    return Console(width=100, record=True)


def test_a_model_that_does_nothing(tmp_path: Path, console: Console) -> None:
    server.noop(tmp_path, 0.3, 2, console)
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +(\d+)$", console.export_text(), re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(0 < float(p50) <= float(p99) and int(rate) > 10 for _, p50, p99, rate in rows)


def test_the_bare_caller_gets_what_a_client_gets(tmp_path: Path) -> None:
    save_noop(tmp_path / "noop" / "1")
    with (
        serving("noop", tmp_path / "noop", tmp_path / "log") as target,
        grpc.insecure_channel(target) as channel,
    ):
        for rows in (1, 200_000):  # the second is larger than a window
            data = request("noop", rows)
            answer = channel.unary_unary(PREDICT)(data, timeout=30)
            with Unary(target, PREDICT) as bare:
                answers = [bare.call(http2.message(data)) for _ in range(3)]
            assert answers == [answer] * 3
        with Unary(target, PREDICT) as bare, pytest.raises(RuntimeError, match="with an error"):
            bare.call(http2.message(request("another", 1)))
    with pytest.raises(OSError, match="refused"):
        Unary(target, PREDICT)


def test_batches_and_none(tmp_path: Path) -> None:
    save_noop(tmp_path / "noop" / "1")
    rates = batching.measure("noop", tmp_path / "noop", tmp_path, [request("noop", 1)], rounds=1, calls=5)
    assert all(rate > 10 for rate in rates)


def test_calls_while_a_version_loads(demo_model: Path, tmp_path: Path, console: Console) -> None:
    model = ServedModel(demo_model, 1, read_metadata(demo_model / "1"))
    hot_load.run(model, tmp_path, 1, 1.0, 0.5, console)
    text = console.export_text()
    assert re.search(r"^nothing loads +\d+ +[\d.]+ +[\d.]+", text, re.MULTILINE)
    assert re.search(r"^a version loads +\d+ +[\d.]+ +[\d.]+", text, re.MULTILINE)
    assert re.search(r"^p99 [\d.]+ x", text, re.MULTILINE)


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="the server did not start"),
        serving("noop", tmp_path, tmp_path / "log", "--enable_batching", "--max_num_load_retries=x"),
    ):
        pass
