"""Envoy's counters for Prometheus: Istio's labels, and nothing else of Envoy's administration (2 s)."""

from __future__ import annotations

import http.client
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mesh.run.bootstrap import STATS_PATH
from tests.mesh.live.support import FakeServer, Versions, called, free_address


def test_prometheus_may_ask_for_counters_and_for_nothing_else(
    pair: Versions, v1: FakeServer, v2: FakeServer, tmp_path: Path
) -> None:
    stats = free_address()

    def ask(path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection(str(stats), timeout=5)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    with called(pair, tmp_path, stats=stats) as (_, caller):
        caller.many(50)
        status, page = ask(STATS_PATH)
        assert status == 200
        counts = {
            sample.labels["cluster_name"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if family.name == "envoy_cluster_upstream_rq_completed"
        }
        host = "tf-serving.object-detection.svc.cluster.local"
        assert (counts[f"outbound|8500|v1|{host}"], counts[f"outbound|8500|v2|{host}"]) == (
            v1.calls,
            v2.calls,
        )
        for path in ("/", "/config_dump", "/certs", "/stats", f"{STATS_PATH}/../../certs"):
            assert ask(path)[0] in (400, 404)
        assert ask("/quitquitquit", "POST")[0] == 404
        assert caller.predict().name == "OK"
