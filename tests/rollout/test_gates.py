"""The gates: their file, and that all three who judge by it judge the same."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("scipy", reason="scipy is not installed (extra rollout)")

from scipy import stats

from client.relay.shadow_gate import judge
from mesh.check.kubectl import build_with_kubectl
from mesh.resources import Resource
from sightline.rollout.gates import FILE, gates_file, read_gates

ROOT = Path(__file__).parents[2]
COMBINATIONS = ROOT / "tests" / "k8s" / "combinations"
RULES = ROOT / "k8s/components/rollout-gates/prometheus-rule-rollout.yaml"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")


def test_the_projects_own_gates_judge_everything() -> None:
    assert gates_file() == ROOT / FILE
    gates = read_gates(gates_file())
    assert gates.success_ratio is not None
    assert gates.age_p99_s is not None
    assert gates.agreement is not None
    for name in ("agreement", "class_agreement", "mean_iou", "score_drift", "latency_ratio"):
        assert getattr(gates.agreement, name) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a ConfigMap"),
        ("data: 3", "expected a ConfigMap"),
        ("data: {}", "expected a ConfigMap"),
        ("data: [", "expected YAML"),
        ("data: {agreement: high}", "agreement: expected a number, got 'high'"),
        ("data: {success_ratio: '1.01'}", "success_ratio: expected more than 0, to 1"),
        ("data: {success_ratio: nan}", "success_ratio: expected more than 0, to 1"),
        ("data: {age_p99_s: '-1'}", "age_p99_s: expected more than 0"),
        ("data: {sucess_ratio: '0.9'}", "sucess_ratio: expected one of"),
        ("data: {success_ratio: '0.9', min_requests: '0'}", "min_requests: expected 1 or more"),
        ("data: {min_requests: '5'}", "expected at least one limit"),
    ],
)
def test_wrong_files_are_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_gates(file)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_gates(tmp_path / "none.yaml")


@cache
def rendered(combination: str) -> tuple[Resource, ...]:
    return tuple(build_with_kubectl(COMBINATIONS / combination))


def one(combination: str, kind: str, name: str) -> Any:
    (found,) = [r.spec for r in rendered(combination) if (r.kind, r.name) == (kind, name)]
    return found


@needs_kubectl
def test_argo_judges_by_the_same_limits() -> None:
    wanted = dict(read_gates(gates_file()).texts)
    found: dict[str, str] = {}
    for name in ("rollout-success", "rollout-age", "rollout-agreement"):
        for argument in one("rollouts-argo", "AnalysisTemplate", name)["args"]:
            if "value" in argument:
                found[argument["name"].replace("-", "_")] = argument["value"]
    assert found == wanted
    url = one("rollouts-argo", "AnalysisTemplate", "rollout-agreement")["metrics"][0]["provider"]["web"][
        "url"
    ]
    asked = dict(part.split("=") for part in url.partition("?")[2].split("&"))
    # What the relay is asked is what it takes, each name with its own argument.
    assert asked.pop("window_s") == "300"
    assert asked == {name: f"{{{{args.{name.replace('_', '-')}}}}}" for name in asked}
    assert asked.keys() == read_gates(gates_file()).agreement_texts.keys()


@needs_kubectl
def test_flagger_judges_by_the_same_limits() -> None:
    gates = read_gates(gates_file())
    analysis = one("flagger", "Canary", "tf-serving")["analysis"]
    passes, fails = analysis["webhooks"]
    assert (passes["type"], fails["type"]) == ("confirm-traffic-increase", "rollback")
    assert passes["metadata"] == gates.agreement_texts
    assert fails["metadata"] == {**gates.agreement_texts, "expect": "fail"}
    limits = {metric["name"]: metric["templateVariables"]["limit"] for metric in analysis["metrics"]}
    assert limits == {
        "rollout-success": gates.texts["success_ratio"],
        "rollout-age": gates.texts["age_p99_s"],
    }


@needs_kubectl
def test_argo_steers_routes_and_subsets_that_are_there() -> None:
    routing = one("rollouts-argo", "Rollout", "tf-serving-rollout")["strategy"]["canary"]["trafficRouting"][
        "istio"
    ]
    rules = one("rollouts-argo", "VirtualService", routing["virtualService"]["name"])["http"]
    subsets = {
        s["name"]
        for s in one("rollouts-argo", "DestinationRule", routing["destinationRule"]["name"])["subsets"]
    }
    (weighted,) = [rule for rule in rules if rule["name"] in routing["virtualService"]["routes"]]
    named = {route["destination"]["subset"] for route in weighted["route"]}
    assert (
        named == subsets == {routing["destinationRule"][f"{one}SubsetName"] for one in ("stable", "canary")}
    )
    assert [route["weight"] for route in weighted["route"]] == [100, 0]
    templates = {r.name for r in rendered("rollouts-argo") if r.kind == "AnalysisTemplate"}
    steps = one("rollouts-argo", "Rollout", "tf-serving-rollout")["strategy"]["canary"]["steps"]
    used = {t["templateName"] for step in steps if "analysis" in step for t in step["analysis"]["templates"]}
    assert used == templates


def test_prometheus_knows_the_confidence() -> None:
    gates = read_gates(gates_file())
    (rule,) = [r for r in rules() if r["record"] == "rollout:z"]
    z = float(rule["expr"].removeprefix("vector(").removesuffix(")"))
    assert z == pytest.approx(stats.norm.ppf((1 + gates.confidence) / 2), abs=1e-4)


def rules() -> list[dict[str, str]]:
    (group,) = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    found: list[dict[str, str]] = group["rules"]
    return found


# Predicts that succeed and fail in 15 s; in 2 min eight times as many.
CASES = ((40, 0), (40, 1), (100, 1), (100, 2), (5, 0), (5, 1), (1, 5), (0, 5), (6, 0), (7, 0))


@needs_kubectl
@needs_promtool
@pytest.mark.parametrize("kind", ["success", "age"])
def test_prometheus_judges_as_python_does(tmp_path: Path, kind: str) -> None:
    """The template's own query, over counters that grow evenly, against the rule of `sightline rollout`."""
    gates = read_gates(gates_file())
    limit = {"success": gates.success_ratio, "age": 0.99}[kind]
    assert limit is not None
    template = one("rollouts-argo", "AnalysisTemplate", f"rollout-{kind}")
    query = template["metrics"][0]["provider"]["prometheus"]["query"]
    arguments = {a["name"]: a.get("value", "") for a in template["args"]}
    cluster = "outbound|8500|v2|tf-serving.object-detection.svc.cluster.local"
    arguments |= {"cluster": "outbound[|]8500[|]v2[|]tf-serving[.].*", "model-version": "2"}
    for name, value in arguments.items():
        query = query.replace(f"{{{{args.{name}}}}}", value)
    assert "{{" not in query
    tests = []
    for good, bad in CASES:
        if kind == "success":
            series = {
                f'envoy_cluster_grpc_success{{cluster_name="{cluster}",pod="a"': good,
                f'envoy_cluster_grpc_failure{{cluster_name="{cluster}",pod="a"': bad + 3,
                f'envoy_cluster_grpc_3{{cluster_name="{cluster}",pod="a"': 3,  # broken pictures are nobody's fault
            }
            upper = "rollout:success_ratio:upper"
        else:
            age = 'sightline_relay_answer_age_seconds_{}{{model_version="2",pod="a"'
            bucket = age.format("bucket") + f',le="{gates.texts["age_p99_s"]}"'
            series = {bucket: good, age.format("count"): good + bad}
            upper = f'rollout:in_time:upper{{le="{gates.texts["age_p99_s"]}"}}'
        verdict, high = expected(8 * good, 8 * (good + bad), limit, gates.min_requests, gates.confidence)
        entry = {
            "interval": "15s",
            "input_series": [
                {"series": f'{name},namespace="object-detection"}}', "values": f"0+{step}x40"}
                for name, step in series.items()
            ],
            "promql_expr_test": [
                {"expr": f"sum({query})", "eval_time": "10m", "exp_samples": samples(verdict)},
                {
                    "expr": f"abs(sum({upper}) - {high!r}) < bool 1e-4",
                    "eval_time": "10m",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                },
            ],
        }
        tests.append(entry)
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "rollout", "interval": "15s", "rules": rules()}]})
    )
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": tests})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def samples(verdict: int | None) -> list[dict[str, Any]]:
    return [] if verdict is None else [{"labels": "{}", "value": verdict}]


def expected(hits: int, total: int, limit: float, least: int, confidence: float) -> tuple[int | None, float]:
    """Python's verdict as the query says it (None: nothing to judge), and the interval's upper end."""
    interval = stats.binomtest(hits, total).proportion_ci(confidence, method="wilson")
    share, low, high = hits / total, float(interval.low), float(interval.high)
    if total < least:
        return None, high
    check = judge("share", (share, low, high), least=limit)
    return {"pass": 1, "wait": 0, "fail": -1}[check.verdict], high
