"""The real stack under a real Prometheus: what rules, dashboards and scalers ask for is there (25 s)."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
import yaml

from client.relayed import DETECT
from client.wire import relay_pb2 as pb
from mesh.resources import MeshError
from mesh.run.envoy import envoy_binary
from model.export import read_metadata
from sightline.models import ServedModel
from sightline.monitoring.files import monitoring_folder, specs
from sightline.monitoring.prometheus import start_prometheus
from sightline.ports import Ports
from sightline.processes import Children
from sightline.stack import Entrance, meshed_stack
from tests.client.media import jpeg, picture
from tests.observability.queries import Series, selectors
from tests.observability.support import rules_of
from tests.observability.test_dashboards import queries as dashboard_queries
from tests.sightline.stack import free_ports, wait_until

CAMERAS = ("gate-7", "yard-8")
FRAMES = 40
K8S = Path(__file__).parents[2] / "k8s"


@dataclass(frozen=True)
class Live:
    """A Prometheus that scrapes the stack; `entrance`: where cameras stream to."""

    url: str
    entrance: Entrance

    def ask(self, path: str, **arguments: str) -> Any:
        """The data of an answer of its API."""
        with urllib.request.urlopen(f"{self.url}api/v1/{path}?{urlencode(arguments)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def wait_for_frames(self, count: int) -> None:
        """Until a scrape of the relay counts so many, and later ones of all the others their shares."""
        done_s = time.time()
        served = 'count(count by (version) (:tensorflow:serving:request_latency_count{API="Predict"} > 0))'
        for query, expected in (("sum(sightline_relay_frames_total)", count), (served, 2)):
            wait_until(lambda query=query, expected=expected: self.value(query) == expected, 30)  # type: ignore[misc]
        # A scrape that failed has its time too, and `up` is 0 then; a target without a scrape has no `up` at all.
        all_up = f"floor(min(timestamp(up))) * min(up) * (count(up) == bool {len(self.entrance.targets)})"
        wait_until(lambda: (self.value(all_up) or 0) > done_s, 30)

    def value(self, query: str) -> int | None:
        """Of a query for one number; None while there is none."""
        result = self.ask("query", query=query)["result"]
        return int(result[0]["value"][1]) if result else None

    def series(self) -> list[Series]:
        """All that it has from its targets."""
        found: list[Series] = self.ask("series", **{"match[]": '{job=~".+"}'})
        return found


@pytest.fixture(scope="module")
def live(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The stack in the mesh, where a tenth of the Predicts fail and two cameras have streamed."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    try:
        envoy_binary()
    except MeshError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("live")
    model = ServedModel(demo_model, 1, read_metadata(demo_model / "1"))
    ports = Ports(*free_ports(len(fields(Ports))))
    with (
        Children(folder / "logs") as children,
        meshed_stack(
            children, {"v1": model, "v2": model}, ports, ["faults/abort"], lambda line: None
        ) as entrance,
    ):
        url = start_prometheus(children, entrance.targets, folder / "prometheus")
        for camera in CAMERAS:
            stream(entrance, camera, wait=True)
            stream(entrance, camera, wait=False)
        found = Live(url, entrance)
        found.wait_for_frames(2 * FRAMES * len(CAMERAS))
        yield found


def stream(entrance: Entrance, camera: str, *, wait: bool) -> None:
    """FRAMES of them: a file's, which wait for their turn, or a camera's."""
    image = jpeg(picture())
    frames = (
        pb.Frame(camera_id=camera, frame_id=number, image=image, wait=wait).SerializeToString()
        for number in range(FRAMES)
    )
    with entrance.security.channel(entrance.address, []) as channel:
        detect = channel.stream_stream(DETECT)
        assert len(list(detect(frames, timeout=60, metadata=entrance.security.metadata(camera)))) == FRAMES


def expressions() -> dict[str, str]:
    """Every query that anybody asks, by who does."""
    rules = rules_of(specs("prometheus-rule-*.yaml").values())
    found = {
        rule.get("record", "") + rule.get("alert", "") + str(rule.get("labels", "")): rule["expr"]
        for rule in rules
    }
    found |= {f"dashboard query {number}": query for number, query in enumerate(dashboard_queries())}
    adapter = yaml.safe_load((monitoring_folder() / "install" / "prometheus-adapter-values.yaml").read_text())
    for rule in [*adapter["rules"]["custom"], *adapter["rules"]["external"]]:
        (selector,) = selectors(rule["seriesQuery"])
        filled = (
            rule["metricsQuery"].replace("<<.Series>>", selector.metric).replace("<<.GroupBy>>", "namespace")
        )
        found[rule["name"]["as"]] = filled.replace("<<.LabelMatchers>>", 'namespace="object-detection"')
    for file in K8S.rglob("scaled-object-*.yaml"):
        (trigger,) = yaml.safe_load(file.read_text())["spec"]["triggers"]
        found[file.name] = trigger["metadata"]["query"]
    return found


def test_every_target_is_scraped_on_loopback_only(live: Live) -> None:
    targets = live.ask("targets")["activeTargets"]
    assert sorted(target["labels"]["job"] for target in targets) == [
        "envoy", "object-detection-client", "tf-serving", "tf-serving",
    ]  # fmt: skip
    (prometheus,) = [child for child in psutil.Process().children() if child.name() == "prometheus"]
    listening = {one.laddr.ip for one in prometheus.net_connections() if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_whatever_is_asked_for_is_there(live: Live) -> None:
    """Metrics and labels of each query; what a rule records is looked for among the rules."""
    recorded = [
        {"__name__": rule["record"], "namespace": "object-detection", **labels}
        for rule in rules_of(specs("prometheus-rule-*.yaml").values())
        if "record" in rule
        # A burn rate has the label of what it is made of.
        for labels in ([rule["labels"]] if "labels" in rule else [{"slo": "delivery"}, {"slo": "result-age"}])
    ]
    series = [*live.series(), *recorded]
    found = expressions()
    assert len(found) > 40
    problems = [(name, one.missing_in(series)) for name, query in found.items() for one in selectors(query)]
    assert [problem for problem in problems if problem[1]] == []


def test_what_is_not_there_is_noticed(live: Live) -> None:
    series = live.series()
    for query, problem in {
        "rate(sightline_relay_frame_total[5m])": "no metric sightline_relay_frame_total",
        "sum by (camera) (sightline_relay_streams)": "sightline_relay_streams has no label camera",
        'up{job="relay"}': "no up with {'job': 'relay'}",
        'sum by (le) (rate(sightline_relay_result_age_seconds_bucket{le="0.12"}[5m]))': (
            "no sightline_relay_result_age_seconds_bucket with {'le': '0.12'}"
        ),
    }.items():
        (selector,) = selectors(query)
        assert selector.missing_in(series) == problem


def test_prometheus_answers_every_query(live: Live) -> None:
    for query in expressions().values():
        assert live.ask("query", query=query)["resultType"] == "vector", query


def test_no_series_names_a_camera_and_another_camera_makes_none(live: Live) -> None:
    """What happens for the first time, a frame that expires for one, makes a series too; each camera would."""
    counts = [len(live.series())]
    assert counts[0] > 300
    more = [f"roof-{number}" for number in range(4)]
    for number, camera in enumerate(more, 1):
        stream(live.entrance, camera, wait=True)
        live.wait_for_frames((2 * len(CAMERAS) + number) * FRAMES)
        counts.append(len(live.series()))
        if counts[-1] == counts[-2]:
            break
    assert counts[-1] == counts[-2], counts
    for found in live.series():
        assert not any(re.search("camera", label) for label in found), found
        assert not any(camera in value for value in found.values() for camera in (*CAMERAS, *more)), found
