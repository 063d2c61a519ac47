"""What holds for each workflow: pinned actions, least permissions, and nothing that a person could not run by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# A commit, and the version that a person reads; Dependabot writes both.
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
# Targets that install no packages and build nothing.
WITH_IDENTITY = {"login", "publish", "release"}
MAKE = re.compile(r"make ([a-z0-9-]+)((?: [A-Z_]+=\S+)*)")


def problems(text: str, targets: set[str]) -> list[str]:
    """What is wrong with a workflow's text; `targets` are those of the Makefile."""
    workflow = yaml.safe_load(text)
    return [*_pins(text), *_permissions(workflow), *_steps(workflow, targets), *_identity(workflow)]


def _pins(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if "uses:" in line and not PINNED.search(line):
            yield f"expected OWNER/ACTION@COMMIT # vVERSION, got {line.strip()!r}"


def _permissions(workflow: dict[str, Any]) -> Iterator[str]:
    if workflow.get("permissions") != {}:
        yield "the workflow's own permissions must be {}: each job says what it needs"
    for name, job in workflow["jobs"].items():
        if not isinstance(job.get("permissions"), dict):
            yield f"job {name} does not say its permissions"
        if "timeout-minutes" not in job:
            yield f"job {name} may run for six hours: no timeout-minutes"


def _steps(workflow: dict[str, Any], targets: set[str]) -> Iterator[str]:
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            if "run" in step:
                yield from (f"job {name}: {found}" for found in _run(step["run"], targets))
            elif step["uses"].startswith("actions/checkout@") and (
                step.get("with", {}).get("persist-credentials") is not False
            ):
                yield f"job {name}: checkout leaves the token in the work tree"


def _identity(workflow: dict[str, Any]) -> Iterator[str]:
    """Who may sign and push runs no program of others: each step of a job sees the job's identity."""
    for name, job in workflow["jobs"].items():
        if "id-token" in (job.get("permissions") or ()):
            for target in (found[1] for step in job["steps"] if (found := MAKE.match(step.get("run", "")))):
                if target not in WITH_IDENTITY:
                    yield f"job {name}: make {target} runs packages of others beside the job's identity"


def _run(command: str, targets: set[str]) -> Iterator[str]:
    found = MAKE.fullmatch(command.strip())
    if found is None:
        yield f"expected `make TARGET VARIABLE=...`, got {command!r}"
    elif found[1] not in targets:
        yield f"the Makefile has no target {found[1]}"
    elif "${{" in command:
        yield f"{command!r}: an expression is pasted into a shell; hand it over in env"
