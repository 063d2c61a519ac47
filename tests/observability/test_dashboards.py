"""The committed dashboards are what the code makes, and Prometheus' own parser takes every query."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sightline.monitoring.files import monitoring_folder, specs
from tests.observability.queries import selectors
from tests.observability.support import alerts, needs_promtool, promtool

pytest.importorskip("grafana_foundation_sdk")
from sightline.monitoring.dashboards import dashboards


def queries() -> Iterator[str]:
    """Every query of every dashboard, with values for Grafana's variables."""
    for text in dashboards().values():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", ()):
                yield (
                    target["expr"].replace("$namespace", "object-detection").replace("$__rate_interval", "1m")
                )


def test_istios_proxies_keep_the_counters_that_are_asked_for() -> None:
    """They keep few unless an annotation names more; then Prometheus keeps what the monitor names."""
    patch = yaml.safe_load((monitoring_folder() / "patch-relay-stats.yaml").read_text())
    (kept,) = patch["spec"]["template"]["metadata"]["annotations"].values()
    scraped = specs("pod-monitor-envoy.yaml")["pod-monitor-envoy.yaml"]["podMetricsEndpoints"][0][
        "metricRelabelings"
    ]
    asked = {
        one.metric
        for query in [*queries(), *(a["expr"] for a in alerts().values())]
        for one in selectors(query)
    }
    envoys = {metric for metric in asked if metric.startswith("envoy_")}
    assert len(envoys) == 8
    for metric in envoys:
        assert re.fullmatch(scraped[0]["regex"], metric)
        name = (
            metric.removeprefix("envoy_cluster_")
            .replace("detection_", "detection.")
            .replace("grpc_", "grpc.")
        )
        for subset in ("v1", "v2", ""):
            cluster = f"outbound|8500|{subset}|tf-serving.object-detection.svc.cluster.local;"
            assert re.fullmatch(kept, f"cluster.{cluster}.{name}")
            assert re.fullmatch(scraped[1]["regex"], cluster)
    assert not re.fullmatch(
        kept, "cluster.outbound|15012||istiod.istio-system.svc.cluster.local;.upstream_rq_retry"
    )


def check(folder: Path, expressions: list[str]) -> tuple[int, str]:
    """`promtool check rules` of a file that records them all."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(expressions)]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    return promtool("check", "rules", "rules.yaml", cwd=folder)


def test_the_committed_dashboards_are_what_the_code_makes() -> None:
    folder = monitoring_folder() / "dashboards"
    assert {path.name: path.read_text() for path in folder.iterdir()} == dashboards(), "run: make dashboards"
    kustomization = yaml.safe_load((monitoring_folder() / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    assert generator["files"] == [f"dashboards/{name}" for name in dashboards()]


@needs_promtool
def test_promtool_takes_every_query(tmp_path: Path) -> None:
    found = list(queries())
    assert len(found) > 20
    assert not any("$" in query.replace('"$1"', "") for query in found)
    status, said = check(tmp_path, found)
    assert status == 0, said
    assert f"{len(found)} rules found" in said


@needs_promtool
def test_promtool_refuses_what_is_no_query(tmp_path: Path) -> None:
    assert check(tmp_path, ["sum by (x (up)"])[0] == 1
    assert check(tmp_path, ["rate(up)"])[0] == 1
