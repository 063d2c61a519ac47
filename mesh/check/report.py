"""Findings for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mesh.check.findings import Finding, Severity

INDENT = " " * 6
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold blue"}


def print_text(findings: Sequence[Finding], summary: str, console: Console) -> None:
    """Findings by file; each code's reason and remedy at its first appearance only."""
    explained: set[str] = set()
    file: Path | None = None
    for found in findings:
        if found.at.path != file:
            file = found.at.path
            console.print(Text(f"\n{file}", style="bold underline"), soft_wrap=True)
        head = Text(f"  {found.at.line}:{found.at.column} ", style="dim")
        head.append(f"{found.severity} ", style=STYLES[found.severity])
        head.append(f"{found.code.id} ", style="cyan")
        head.append(found.what)
        console.print(head, soft_wrap=True)
        if found.code.id not in explained:
            explained.add(found.code.id)
            body = Text("why ", style="dim").append(found.code.why, style="dim")
            body.append("\nfix ", style="green").append(found.fix, style="default")
            for line in body.wrap(console, console.width - len(INDENT)):
                line.rstrip()
                console.print(Text(INDENT).append_text(line), soft_wrap=True)
    counts = Counter(found.severity for found in findings)
    said = (
        ", ".join(f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in Severity if counts[s]) or "no findings"
    )
    style = next((STYLES[s] for s in Severity if counts[s]), "bold green")
    console.print()
    console.print(Text(said, style=style).append(f" in {summary}", style="default"), soft_wrap=True)


def print_json(findings: Sequence[Finding], console: Console) -> None:
    """One JSON document: `findings` and `counts` by severity."""
    counts = Counter(str(found.severity) for found in findings)
    document = {
        "findings": [
            {
                "code": found.code.id,
                "severity": str(found.severity),
                "file": str(found.at.path),
                "line": found.at.line,
                "column": found.at.column,
                "what": found.what,
                "why": found.code.why,
                "fix": found.fix,
            }
            for found in findings
        ],
        "counts": {str(s): counts[str(s)] for s in Severity},
    }
    console.file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
