"""BentoML's peer: a service class, as its documentation writes one."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import bentoml

from bench.engines import Network

SETTINGS = (
    "BENCH_BENTOML"  # BentoML's workers import this module anew: what they shall serve comes by environment
)


def _settings() -> tuple[Network, int, int]:
    given = json.loads(os.environ[SETTINGS])
    network = Network(given["runtime"], Path(given["weights"]), Path(given["onnx"]))
    return network, given["instances"], given["threads"]


@bentoml.service(workers=_settings()[1] if SETTINGS in os.environ else 1)
class Detector:
    """The image comes as the file `image` of a form."""

    def __init__(self) -> None:
        network, _, threads = _settings()
        (self._detect,) = network.detectors(1, threads)

    @bentoml.api
    def detect(
        self, image: Annotated[Path, bentoml.validators.ContentType("image/jpeg")]
    ) -> list[list[float]]:
        """Boxes."""
        return self._detect(image.read_bytes())


def serve(network: Network, port: int, instances: int, threads: int) -> None:
    """Become `bentoml serve`."""
    given = asdict(network) | {"instances": instances, "threads": threads}
    os.environ[SETTINGS] = json.dumps(given, default=str)
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    command = ["serve", "bench.bentoml_service:Detector", "--host=127.0.0.1", f"--port={port}"]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *command])
