"""k8s/components/monitoring, which the local Prometheus takes its rules and scrapes from, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def monitoring_folder() -> Path:
    """The component: in k8s/ of a checkout, inside the package when installed. Raises FileNotFoundError."""
    package = Path(__file__).parent
    for folder in (package.parents[1] / "k8s" / "components" / "monitoring", package / "k8s"):
        if (folder / "kustomization.yaml").is_file():
            return folder
    raise FileNotFoundError("k8s/components/monitoring is not there: install the package again")


def specs(pattern: str) -> dict[str, Any]:
    """The `spec` of each object whose file matches `pattern`, by the object's file's name.

    A PrometheusRule's is just what Prometheus and promtool read.
    """
    files = sorted(monitoring_folder().glob(pattern))
    return {file.name: yaml.safe_load(file.read_text("utf-8"))["spec"] for file in files}
