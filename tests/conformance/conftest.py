"""Black-box checks of a TF Serving binary, or of one that says it is: a process, its ports, nothing inside.

SIGHTLINE_CONFORMANCE_SERVER is the command to start, `python -m serving` if it is not set; flags are added as
`--name=value`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.child import bound
from tests.conformance.client import Client, free_port
from tests.serving import models

SAVED = ("keras", "keras_saved", "tensorflow_2", "unknown_rank", "mirrored")  # by different ways to save
COMMAND_VARIABLE = "SIGHTLINE_CONFORMANCE_SERVER"


def command() -> list[str]:
    """The server's command."""
    return shlex.split(os.environ.get(COMMAND_VARIABLE, "")) or [sys.executable, "-m", "serving"]


def model_config(*entries: tuple[str, Path, str]) -> str:
    """A ModelServerConfig of (name, base path, further fields)."""
    lines = [
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'
        for name, path, more in entries
    ]
    return "model_config_list {\n" + "\n".join(lines) + "\n}\n"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models: half_plus_two, half_plus_three, versions (1, 2, 3), strings, TF Serving's own, and odd ones."""
    folder = tmp_path_factory.mktemp("conformance")
    models.half_plus(folder / "half_plus_two" / "00000123")
    models.half_plus(folder / "half_plus_three" / "00000123", 3.0)
    for version in (1, 2, 3):
        models.affine(folder / "versions" / str(version), float(version))
    models.strings(folder / "strings" / "1")
    models.keras(folder / "keras" / "1")
    models.half_plus_two_tensorflow_2(folder / "tensorflow_2" / "00000123")
    models.unknown_rank(folder / "unknown_rank" / "00000123")
    models.keras_saved(folder / "keras_saved" / "1")
    models.mirrored(folder / "mirrored" / "1")
    models.lite_half_plus_two(folder / "lite" / "00000123")
    models.lite_half_plus_two(folder / "lite_with_signature" / "00000123", "serving_default")
    models.odd_method(folder / "odd_method" / "1")
    models.with_warm_up(models.affine(folder / "warmed" / "1"), [b""])
    models.quantised(folder / "quantised" / "1")
    models.affine(folder / "second" / "5", 5.0)
    models.affine(folder / "moved" / "1")
    cut = models.affine(folder / "cut" / "1") / "saved_model.pb"
    cut.write_bytes(cut.read_bytes()[:-1])
    return folder


@pytest.fixture(scope="session")
def spawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    """Start a server on free ports; it may still be loading."""
    processes: list[subprocess.Popen[bytes]] = []
    logs = tmp_path_factory.mktemp("logs")

    def spawner(*flags: str) -> Client:
        port, rest_port = free_port(), free_port()
        log = logs / f"{len(processes)}.log"
        ports = [f"--port={port}", f"--rest_api_port={rest_port}"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                bound([*command(), *ports, *flags]), stdout=file, stderr=subprocess.STDOUT
            )
        processes.append(process)
        return Client(port, rest_port, process, log)

    yield spawner
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def fleet(spawn: Callable[..., Client], folder: Path) -> dict[str, Client]:
    """Servers, started together as each takes seconds: main, batching, reload, lite, and one without models."""
    versions = 'model_version_policy { all {} } version_labels { key: "stable" value: 2 }'
    files = {
        "main": model_config(
            ("half_plus_two", folder / "half_plus_two", ""),
            ("half_plus_three", folder / "half_plus_three", ""),
            ("versions", folder / "versions", versions),
            ("strings", folder / "strings", ""),
            ("warmed", folder / "warmed", ""),
            ("quantised", folder / "quantised", ""),
            *((name, folder / name, "") for name in SAVED),
        ),
        "lite_models": model_config(*((name, folder / name, "") for name in ("lite", "lite_with_signature"))),
        "without": "",
        "reload": model_config(("half_plus_two", folder / "half_plus_two", "")),
        "monitoring": 'prometheus_config: { enable: true, path: "/monitoring/prometheus/metrics" }',
        "batching": (
            "max_batch_size { value: 4 } batch_timeout_micros { value: 100000 } max_enqueued_batches { value: 8 }"
            " num_batch_threads { value: 2 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    fleet = {
        "main": spawn(
            f"--model_config_file={folder / 'main'}",
            f"--monitoring_config_file={folder / 'monitoring'}",
            f"--grpc_socket_path={folder / 'socket'}",
            "--enable_grpc_healthcheck_service",
            "--allow_version_labels_for_unavailable_models",
            "--rest_api_timeout_in_ms=20000",
        ),
        "batching": spawn(
            "--model_name=half_plus_two",
            f"--model_base_path={folder / 'half_plus_two'}",
            "--enable_batching",
            f"--batching_parameters_file={folder / 'batching'}",
            f"--monitoring_config_file={folder / 'monitoring'}",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        ),
        "reload": spawn(
            f"--model_config_file={folder / 'reload'}", "--model_config_file_poll_wait_seconds=1"
        ),
        "without": spawn(
            f"--model_config_file={folder / 'without'}",
            "--model_config_file_poll_wait_seconds=1",
            "--max_num_load_retries=0",
            "--rest_api_enable_cors_support",
            "--enable_signature_method_name_check",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=99999999999,grpc.lb_policy_name=--5",
        ),
        "lite": spawn(f"--model_config_file={folder / 'lite_models'}", "--prefer_tflite_model=true"),
    }
    for client in fleet.values():
        client.wait_ready()
    return fleet


@pytest.fixture(scope="session")
def main(fleet: dict[str, Client]) -> Client:
    """The server with all the models."""
    return fleet["main"]
