"""What Grafana's dashboards show: titles, units and PromQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grafana_foundation_sdk.models import units


@dataclass(frozen=True)
class Plot:
    """A panel of lines. `queries`: PromQL by its legend; `stacked`: the lines are parts of a whole."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    stacked: bool = False


def of(metric: str, **labels: str) -> str:
    """A metric of the namespace that is chosen at the dashboard's top."""
    matchers = ",".join(f'{name}="{value}"' for name, value in {"namespace": "$namespace", **labels}.items())
    return f"{metric}{{{matchers}}}"


def rate(metric: str, by: str, **labels: str) -> str:
    """A counter's rate per second, summed by labels."""
    return f"sum by ({by}) (rate({of(metric, **labels)}[$__rate_interval]))"


def quantiles(histogram: str, by: str = "", in_seconds: str = "", **labels: str) -> dict[str, str]:
    """The median and the 99th percentile of a histogram, `by` a label; `in_seconds` is what makes them seconds."""
    buckets = rate(f"{histogram}_bucket", f"{by}, le" if by else "le", **labels)
    legend = f"{{{{{by}}}}} " if by else ""
    return {
        f"{legend}p50": f"histogram_quantile(0.5, {buckets}){in_seconds}",
        f"{legend}p99": f"histogram_quantile(0.99, {buckets}){in_seconds}",
    }


def sidecar(metric: str, query: Callable[..., str] = rate) -> str:
    """A counter or gauge of the relays' sidecars, with the outbound cluster's subset as a label."""
    summed = query(f"envoy_cluster_{metric}", by="cluster_name")
    return f'label_replace({summed}, "subset", "$1", "cluster_name", "outbound[|][0-9]+[|]([^|]*)[|].*")'


def now(metric: str, by: str) -> str:
    """A gauge, summed by labels."""
    return f"sum by ({by}) ({of(metric)})"


RELAY = {"job": "object-detection-client"}
PROMISES = [
    Plot(
        "Broken promises",
        "Share of frames not delivered, and of live results over 100 ms old at the relay. Promised is 1 % at most.",
        units.PercentUnit,
        {"{{slo}}": f"{of('slo:errors:rate5m')} / {of('slo:events:rate5m')}"},
    ),
    Plot(
        "Burn rate of the error budgets",
        "1 uses the 30 days' budget up in 30 days; above 14.4 over 1 h and 5 min somebody is woken.",
        units.Short,
        {"{{slo}} 1 h": of("slo:burn_rate:1h"), "{{slo}} 5 min": of("slo:burn_rate:5m")},
    ),
]
FRAMES = [
    Plot(
        "Frames by what became of them",
        "Each frame that reached a relay is delivered, errored or dropped.",
        units.CountsPerSecond,
        {"{{outcome}} {{reason}}": rate("sightline_relay_frames_total", "outcome, reason")},
        stacked=True,
    ),
    Plot(
        "Age of results",
        "From capture until the result leaves the relay; live frames only.",
        units.Seconds,
        quantiles("sightline_relay_result_age_seconds"),
    ),
    Plot(
        "Where the time goes",
        "At the relay: before Predict is sent, Predict (of it mesh, server, model), behind earlier frames, all of it.",
        units.Seconds,
        quantiles("sightline_relay_stage_seconds", by="stage"),
    ),
    Plot(
        "Frames by model version",
        "Of those delivered: what the canary really gets.",
        units.CountsPerSecond,
        {"version {{model_version}}": rate("sightline_relay_served_total", "model_version")},
        stacked=True,
    ),
]
RELAYS = [
    Plot("Cameras", "Open streams.", units.Short, {"{{instance}}": of("sightline_relay_streams")}),
    Plot(
        "Predicts in flight",
        "How many may be; and pending: frames without a result yet, in flight or waiting.",
        units.Short,
        {
            "{{instance}} in flight": of("sightline_relay_predicts_in_flight"),
            "{{instance}} limit": of("sightline_relay_in_flight_limit"),
            "{{instance}} pending": of("sightline_relay_pending_frames"),
        },
    ),
    Plot(
        "CPU of the relays",
        "1 is a whole core, and all that a relay can use.",
        units.Short,
        {"{{instance}}": rate("process_cpu_seconds_total", "instance", **RELAY)},
    ),
    Plot(
        "Memory of the relays",
        "Resident.",
        units.BytesIEC,
        {"{{instance}}": of("process_resident_memory_bytes", **RELAY)},
    ),
]
SERVERS = [
    Plot(
        "Requests by version and status",
        "As the model servers count them.",
        units.RequestsPerSecond,
        {"{{version}} {{status}}": rate(":tensorflow:serving:request_count", "version, status")},
        stacked=True,
    ),
    Plot(
        "Latency of Predict by version",
        "In the server: decoding, network, NMS.",
        units.Seconds,
        quantiles(":tensorflow:serving:request_latency", "version", " / 1e6", API="Predict"),
    ),
    Plot(
        "Predicts under way by version",
        "Time spent in Predicts per second (Little's law), over all pods; the autoscaler goes by the same per pod.",
        units.Short,
        {"{{version}}": rate(":tensorflow:serving:request_latency_sum", "version", API="Predict") + " / 1e6"},
    ),
    Plot(
        "Loads of models",
        "Attempts since the server's start, by result.",
        units.Short,
        {"{{version}} {{status}}": now(":tensorflow:cc:saved_model:load_attempt_count", "version, status")},
    ),
]
MESH = [
    Plot(
        "Requests by subset",
        "Completed, at the relays' sidecars: the VirtualService's split as it really is.",
        units.RequestsPerSecond,
        {"{{subset}}": sidecar("upstream_rq_completed")},
        stacked=True,
    ),
    Plot(
        "Failures by subset",
        "Calls that ended with another gRPC status than OK.",
        units.RequestsPerSecond,
        {"{{subset}}": sidecar("grpc_failure")},
    ),
    Plot(
        "Retries",
        "All, those that helped, and those that the retry budget refused.",
        units.RequestsPerSecond,
        {
            "{{subset}}": sidecar("upstream_rq_retry"),
            "{{subset}} helped": sidecar("upstream_rq_retry_success"),
            "{{subset}} over budget": sidecar("upstream_rq_retry_overflow"),
        },
    ),
    Plot(
        "Ejected and refused",
        "Servers that outlier detection holds out now, and requests a second that circuit breaking refuses.",
        units.Short,
        {
            "{{subset}} ejected": sidecar("outlier_detection_ejections_active", now),
            "{{subset}} refused": sidecar("upstream_rq_active_overflow"),
            "{{subset}} refused waiting": sidecar("upstream_rq_pending_overflow"),
        },
    ),
]
