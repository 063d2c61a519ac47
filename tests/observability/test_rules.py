"""Alerts fire when they should, and only then; each is in the runbook."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.observability.support import alerts, needs_promtool, promtool, write_rules

CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
RUNBOOK = "docs/runbook.md"
ROOT = Path(__file__).parents[2]


def run_cases(folder: Path, cases: list[Path], changed: dict[str, str] | None = None) -> tuple[int, str]:
    write_rules(folder, changed)
    for case in cases:
        shutil.copy(case, folder)
    return promtool("test", "rules", *(case.name for case in cases), cwd=folder)


@needs_promtool
def test_every_case_of_every_alert(tmp_path: Path) -> None:
    status, said = run_cases(tmp_path, CASES)
    assert status == 0, said
    assert said.count("SUCCESS") == len(CASES) == 2


@needs_promtool
@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 1"], ids=["always", "never"])
@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_that_fires_always_or_never_is_noticed(tmp_path: Path, alert: str, expression: str) -> None:
    cases = [case for case in CASES if alert in case.read_text()]
    status, said = run_cases(tmp_path, cases, {alert: expression})
    assert status == 1
    assert set(re.findall(r"alertname: (\w+)", said)) == {alert}


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not() -> None:
    fires: dict[str, set[bool]] = {}
    for file in CASES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for asked in case.get("alert_rule_test", ()):
                fires.setdefault(asked["alertname"], set()).add(bool(asked.get("exp_alerts")))
    assert fires == {alert: {True, False} for alert in alerts()}


def test_every_alert_is_in_the_runbook_and_the_runbook_has_no_other() -> None:
    anchors = {
        line[3:].lower() for line in (ROOT / RUNBOOK).read_text().splitlines() if line.startswith("## ")
    }
    found = alerts()
    assert len(found) == 9
    for alert in found.values():
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in ("critical", "warning")
    assert {alert["annotations"]["runbook_url"] for alert in found.values()} == {
        f"{RUNBOOK}#{a}" for a in anchors
    }
