"""What the mesh did: requests per model version, and what its protections did to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.run.envoy import Envoy

COUNTERS = {  # of an outbound cluster
    "upstream_rq_total": "requests",
    "upstream_rq_completed": "completed",
    "upstream_rq_retry": "retries",
    "upstream_rq_retry_success": "retries_that_helped",
    "upstream_rq_retry_overflow": "retries_over_budget",
    "upstream_rq_active_overflow": "refused_active",
    "upstream_rq_pending_overflow": "refused_pending",
    "upstream_cx_none_healthy": "none_healthy",
    "retry_or_shadow_abandoned": "retries_abandoned",
    "outlier_detection.ejections_active": "ejected_now",
    "outlier_detection.ejections_enforced_total": "ejections",
    "outlier_detection.ejections_overflow": "ejections_overflow",
}


@dataclass(frozen=True, slots=True)
class MeshStats:
    """Counts since Envoy's start.

    `clusters` are istiod's names of outbound clusters; each has the names that COUNTERS gives. `faults` are the
    faults injected (`delays`, `aborts`), `rate_limited` the streams that the local rate limit refused.
    """

    clusters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    rate_limited: int = 0

    def served(self, service: str = "tf-serving") -> dict[str, int]:
        """Requests completed per subset (version) of a service, in the order of their names."""
        found: dict[str, int] = {}
        for name, counts in sorted(self.clusters.items()):
            _, _, subset, host = name.split("|")
            if subset and host.split(".")[0] == service:
                found[subset] = found.get(subset, 0) + counts.get("completed", 0)
        return found


def read_stats(envoy: Envoy) -> MeshStats:
    """Read the counters over the administration socket."""
    values = envoy.stats(
        r"^cluster\.outbound\|.*\.(upstream_rq_(total|completed|retry.*|.*overflow)|upstream_cx_none_healthy"
        r"|retry_or_shadow_abandoned|outlier_detection\.ejections_(active|enforced_total|overflow))$"
        r"|\.fault\.(delays_injected|aborts_injected)$|\.http_local_rate_limit\.enforced$"
    )
    clusters: dict[str, dict[str, int]] = {}
    faults = {"delays": 0, "aborts": 0}
    limited = 0
    for name, value in values.items():
        if name.startswith("cluster.outbound|"):
            for counter, label in COUNTERS.items():
                cluster = name.removeprefix("cluster.").removesuffix(f".{counter}")
                # Envoy counts once more by where a request came from.
                if name.endswith(f".{counter}") and not cluster.endswith((".external", ".internal")):
                    clusters.setdefault(cluster, {})[label] = value
        elif name.endswith("_injected"):
            faults[name.rpartition(".")[2].removesuffix("_injected")] += value
        else:
            limited += value
    return MeshStats(clusters, faults, limited)
