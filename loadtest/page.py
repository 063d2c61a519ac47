"""A page: a verdict, then sections of a picture, a table, or both. One HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape


@dataclass(frozen=True)
class Verdict:
    """A line at the top; `kind` is good, bad or doubt."""

    kind: str
    text: str


@dataclass(frozen=True)
class Drawing:
    """One picture for wide windows, and for narrow ones: data URIs."""

    wide: str
    narrow: str


@dataclass(frozen=True)
class Section:
    """`picture`: or None. `header` and `rows`: a table, or nothing."""

    title: str
    picture: Drawing | None = None
    note: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def render(title: str, subtitle: str, verdict: Sequence[Verdict], sections: Sequence[Section]) -> str:
    """The page's HTML."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True)
    )
    return templates.get_template("report.html.j2").render(
        title=title, subtitle=subtitle, verdict=verdict, sections=sections
    )
