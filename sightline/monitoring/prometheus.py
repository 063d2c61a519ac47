"""The local Prometheus: the cluster's rules and scrapes, for the parts of a stack on this machine."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mesh.stack import NAMESPACE, RELAY, SERVING
from sightline.monitoring.files import specs
from sightline.ports import LOOPBACK, free_port, is_free
from sightline.processes import Children

PORT = 9090  # Prometheus' own; another one where it is taken
ENVOY = "envoy"
# What tells the scrape's path and which series to keep.
MONITORS = {
    RELAY: "service-monitor-relay.yaml",
    SERVING: "service-monitor-tf-serving.yaml",
    ENVOY: "pod-monitor-envoy.yaml",
}
SCRAPE_EVERY = "5s"  # a cluster's 15 s would show little of a run that lasts minutes
KEPT = "3d"  # the longest window of the rules
READY_TIMEOUT_S = 60.0  # it reads its data of earlier runs first


@dataclass(frozen=True)
class Target:
    """A part of the stack to scrape. `job`: a key of MONITORS. `address`: host:port. `version`: a model server's."""

    job: str
    address: str
    version: str = ""


def prometheus_binary() -> str:
    """Prometheus' program. Raises ValueError where it is not installed."""
    path = shutil.which("prometheus")
    if path is None:
        raise ValueError(
            "--monitoring: there is no prometheus on the PATH: apt-get install prometheus (Debian), or leave it out"
        )
    return path


def start_prometheus(children: Children, targets: Iterable[Target], folder: Path) -> str:
    """Start it with its configuration, rules and data in `folder`, wait until it is ready, and return its URL.

    Raises TimeoutError, ChildDied.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, rules in specs("prometheus-rule-*.yaml").items():
        (folder / name).write_text(yaml.safe_dump(rules))
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration(targets)))
    port = PORT if is_free(PORT) else free_port()
    children.start("prometheus", [
        prometheus_binary(), f"--config.file={file}", f"--web.listen-address={LOOPBACK}:{port}",
        f"--storage.tsdb.path={folder / 'data'}", f"--storage.tsdb.retention.time={KEPT}", "--log.level=warn",
    ])  # fmt: skip
    url = f"http://{LOOPBACK}:{port}/"
    _wait_ready(url, children)
    return url


def configuration(targets: Iterable[Target]) -> dict[str, Any]:
    """prometheus.yaml: a job for each monitor, with the targets that there are."""
    monitors = specs("*-monitor-*.yaml")
    jobs: dict[str, dict[str, Any]] = {}
    for job, file in MONITORS.items():
        spec = monitors[file]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        jobs[job] = {
            "job_name": job,
            "metrics_path": endpoint["path"],
            "metric_relabel_configs": [_relabeling(rule) for rule in endpoint.get("metricRelabelings", ())],
            "static_configs": [],
        }
    for target in targets:
        labels = {"namespace": NAMESPACE} | ({"version": target.version} if target.version else {})
        jobs[target.job]["static_configs"].append({"targets": [target.address], "labels": labels})
    return {
        "global": {"scrape_interval": SCRAPE_EVERY},
        "rule_files": ["prometheus-rule-*.yaml"],
        "scrape_configs": [job for job in jobs.values() if job["static_configs"]],
    }


def _relabeling(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of the operator's in Prometheus' own spelling."""
    spelling = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {spelling.get(name, name): value for name, value in rule.items()}


def _wait_ready(url: str, children: Children) -> None:
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s:
        children.check()
        try:
            with urllib.request.urlopen(f"{url}-/ready", timeout=2.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"Prometheus at {url} was not ready within {READY_TIMEOUT_S:.0f} s")
