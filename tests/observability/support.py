"""promtool, and the rules as it reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.monitoring.files import specs

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str]:
    """Its exit status, and all that it said."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    return {
        rule["alert"]: rule for rule in rules_of(specs("prometheus-rule-*.yaml").values()) if "alert" in rule
    }


def rules_of(contents: Iterable[Any]) -> list[dict[str, Any]]:
    """All rules of rule files."""
    return [rule for content in contents for group in content["groups"] for rule in group["rules"]]


def write_rules(folder: Path, changed: dict[str, str] | None = None) -> list[Path]:
    """The rule files in a folder; `changed`: other expressions for alerts."""
    files = []
    for name, content in specs("prometheus-rule-*.yaml").items():
        for rule in rules_of([content]):
            rule["expr"] = (changed or {}).get(rule.get("alert", ""), rule["expr"])
        files.append(folder / name)
        files[-1].write_text(yaml.safe_dump(content))
    return files
