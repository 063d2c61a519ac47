"""The namespace's policies on good and bad objects: ValidatingAdmissionPolicies in CEL, Gatekeeper's in Rego."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import yaml

from tests.k8s.admission import admitted, by_cel, by_rego
from tests.k8s.rendered import COMBINATIONS, HERE, OVERLAYS, REGISTRY, Objects, break_, of, render

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

CASES: list[dict[str, Any]] = yaml.safe_load((HERE / "policy_cases.yaml").read_text())
RULES = "rollout-50"  # holds both kinds of policies


def refusals(rules: Objects, objects: Objects) -> dict[str, set[str]]:
    """The policies that refuse one of the objects, by engine."""
    found: dict[str, set[str]] = {"CEL": set(), "Rego": set()}
    for body in admitted(objects):
        found["CEL"] |= {message.partition(":")[0] for message in by_cel(rules, body)}
        found["Rego"] |= {message.partition(":")[0] for message in by_rego(rules, body)}
    return found


# kind runs images that were never pushed, so it has no policies either.
@pytest.mark.parametrize("name", sorted({*OVERLAYS, *COMBINATIONS} - {"local"}))
def test_what_we_deploy_is_admitted(name: str) -> None:
    assert refusals(render(RULES), render(name)) == {"CEL": set(), "Rego": set()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_both_engines_decide_alike(case: dict[str, Any]) -> None:
    rules, objects = render(RULES), render(RULES)
    break_(objects, case)
    expected = set(case["refused"])
    assert refusals(rules, objects) == {"CEL": expected, "Rego": expected}


def test_each_policy_refuses_and_allows_something() -> None:
    policies = {r.name for r in of(render(RULES), "ValidatingAdmissionPolicy")}
    assert policies == {name for case in CASES for name in case["refused"]}
    assert sum(not case["refused"] for case in CASES) >= len(policies)


def test_a_binding_without_deny_refuses_nothing() -> None:
    """A policy does nothing by itself: take its binding, and what it refused passes."""
    rules, objects = render(RULES), render(RULES)
    case = next(case for case in CASES if case["refused"] == ["sightline-images"])
    break_(objects, case)
    for binding in of(rules, "ValidatingAdmissionPolicyBinding"):
        rules.remove(binding)
    assert refusals(rules, objects)["CEL"] == set()


def test_a_refusal_says_what_was_expected() -> None:
    rules, objects = render(RULES), render(RULES)
    break_(objects, CASES[0])
    (message,) = {m for body in admitted(objects) for m in by_cel(rules, body)}
    assert f"expected {REGISTRY}/NAME@sha256:DIGEST, got {REGISTRY}/relay:1.0" in message
