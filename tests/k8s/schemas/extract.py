"""Write crds.json.gz: the schemas of the operators' kinds that k8s/ uses, from their pinned npm packages.

    python -m tests.k8s.schemas.extract FOLDER

FOLDER holds the archives that `npm pack NAME@VERSION` wrote; see mesh/check/extract_schemas.py, which reads them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sys
from pathlib import Path

from mesh.check.extract_schemas import extract, reachable

# npm's `dist.integrity` of exactly these versions, and the kinds that we write.
PACKAGES = {
    "kubernetes-models-keda-2.0.0.tgz": (
        ("ScaledObject",),
        "sha512-iqDohrzL51UXD6zM+Rl4RDnZ9Q7jwgikXYrDCxL0sWA5ZTFa7nMfS4Exu2uK6ohA+OUNQMUIFWORAHNpz5qlFw==",
    ),
    "kubernetes-models-prometheus-operator-6.0.0.tgz": (
        ("ServiceMonitor", "PodMonitor", "PrometheusRule"),
        "sha512-ySNW4T6U6Vn86bmcJ/emmAYJ/UrzpNvzxWexWJSALwgiO4FqCgL6WoqFsOReSiMhw/LlF+MljQvoiwD3RnaGmg==",
    ),
    "kubernetes-models-argo-rollouts-2.0.0.tgz": (
        ("Rollout", "AnalysisTemplate"),
        "sha512-bKva0rPs0/kN7iWBmMTeNZytV7vCYHHr2/QhcBfOnp+y8daM5BJlHLd1yE+6JBkh5Z4k24QoQXbAMuZSbcwU1A==",
    ),
}


def main(folder: Path) -> None:
    bundle: dict[str, dict[str, object]] = {"kinds": {}, "$defs": {}}
    for archive, (kinds, integrity) in PACKAGES.items():
        digest = hashlib.sha512((folder / archive).read_bytes()).digest()
        if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
            sys.exit(f"{archive}: expected {integrity}")
        found = extract(folder / archive)
        wanted = {key: name for key, name in found["kinds"].items() if key.split()[1] in kinds}
        bundle["kinds"] |= wanted
        bundle["$defs"] |= reachable(wanted.values(), found["$defs"])
    text = json.dumps(bundle, separators=(",", ":"), sort_keys=True)
    Path(__file__).with_name("crds.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
