"""`sightline mesh check`: what Istio would refuse, ignore, or do otherwise than the files seem to say."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import normpath
from pathlib import Path

from rich.console import Console

from mesh.check import (
    filters,
    gateway_api,
    policies,
    references,
    report,
    resilience,
    routing,
    schema,
    security,
)
from mesh.check.findings import Finding, Severity
from mesh.check.inputs import Inputs, UsageError, gather
from mesh.check.world import World
from mesh.resources import Resource

CHECKS = (
    references.check,
    routing.check,
    policies.check,
    resilience.check,
    security.check,
    filters.check,
    gateway_api.check,
)


@dataclass(frozen=True)
class Outcome:
    """Findings by file and line, each once, and what was looked at."""

    findings: tuple[Finding, ...]
    files: int
    configurations: int
    skipped: int

    @property
    def failed(self) -> bool:
        return any(found.severity is Severity.ERROR for found in self.findings)


def check(paths: Sequence[Path | str]) -> Outcome:
    """Check files and folders. Raises UsageError for a path that is not there or has no YAML."""
    inputs = gather([Path(path) for path in paths])
    everything = [r for c in inputs.configurations for r in c.resources]
    found = list(inputs.findings)
    seen: set[str] = set()
    for configuration in inputs.configurations:
        own = {id(r) for r in configuration.resources}
        context = [r for r in everything if id(r) not in own]
        found += _schemas(configuration.resources, seen)
        world = World(configuration.resources, _unlike(context, configuration.resources))
        for rule in CHECKS:
            found += rule(world)
    ordered = sorted(_once(found), key=lambda f: (str(f.at.path), f.at.line, f.at.column, f.code.id))
    return Outcome(
        tuple(ordered),
        len({normpath(file) for file in inputs.files}),
        len(inputs.configurations),
        inputs.skipped,
    )


def run(paths: Sequence[Path | str], json: bool = False, console: Console | None = None) -> int:
    """Check and print. The exit code: 0 without errors, 1 with errors, 2 for a path that can't be checked."""
    console = console or Console()
    try:
        outcome = check(paths)
    except UsageError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2
    if json:
        report.print_json(outcome.findings, console)
    else:
        summary = _count(outcome.files, "file") + ", " + _count(outcome.configurations, "configuration")
        if outcome.skipped:
            summary += f", {outcome.skipped} skipped that hold no Kubernetes object"
        report.print_text(outcome.findings, summary, console)
    return 1 if outcome.failed else 0


def _schemas(resources: Iterable[Resource], seen: set[str]) -> Iterator[Finding]:
    """The same object in many configurations is compared with its schema once."""
    for resource in resources:
        key = f"{resource.at} {json_module.dumps(resource.body)}"
        if key not in seen:
            seen.add(key)
            yield from schema.check(resource)


def _unlike(context: list[Resource], own: list[Resource]) -> list[Resource]:
    """Other configurations' objects, without other forms of our own ones."""
    ours = {(r.group, r.kind, r.namespace, r.name) for r in own}
    return [r for r in context if (r.group, r.kind, r.namespace, r.name) not in ours]


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Each finding once: overlays bring their base's files by another way to write the path."""
    seen = set()
    for found in findings:
        path = Path(normpath(found.at.path))
        found = replace(found, at=replace(found.at, path=path))
        key = (found.code.id, found.at, found.what)
        if key not in seen:
            seen.add(key)
            yield found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


__all__ = ["Inputs", "Outcome", "UsageError", "check", "run"]
