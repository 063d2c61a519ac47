"""What a check says: a code with its reason and remedy, and where it applies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.check.catalogue import CATALOGUE
from mesh.resources import Position


class Severity(StrEnum):
    """An error makes the command fail: refused by Istio, or not doing what it says. A warning is likely a mistake,
    a note worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Code:
    """One thing that can be found."""

    id: str
    severity: Severity
    title: str
    why: str
    fix: str


CODES = {
    code: Code(code, Severity(severity), title, why, fix)
    for code, (severity, title, why, fix) in CATALOGUE.items()
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: `what` is the sentence about this place."""

    code: Code
    at: Position
    what: str
    severity: Severity
    fix: str


def finding(
    code: str, at: Position, what: str, severity: Severity | None = None, fix: str | None = None
) -> Finding:
    """A finding of a code; a place may be less severe than the code's rule, or have a remedy of its own."""
    known = CODES[code]
    return Finding(known, at, what, severity or known.severity, fix or known.fix)
