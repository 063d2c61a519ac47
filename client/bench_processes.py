"""The processes that are measured: a null model server and a relay, and what the relay tells of itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

from model.child import bound

CPU_SECONDS, MEMORY_BYTES = "process_cpu_seconds_total", "process_resident_memory_bytes"

_RUN_RELAY = """
import sys
from client.relay import RelayConfig, run
sys.exit(run(RelayConfig(target=sys.argv[1], listen="127.0.0.1:0", http_port=0)))
"""


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
