"""What a PromQL query asks for: metrics, and the labels that they have to have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import promql_parser

Series = dict[str, str]


@dataclass(frozen=True)
class Selector:
    """One metric in a query: what its labels must equal, and labels that it is told apart or summed by."""

    metric: str
    equal: tuple[tuple[str, str], ...]
    labels: frozenset[str]

    def missing_in(self, series: Iterable[Series]) -> str:
        """What is not there; nothing if all is."""
        named = [found for found in series if found["__name__"] == self.metric]
        if not named:
            return f"no metric {self.metric}"
        if unknown := self.labels - {label for found in named for label in found}:
            return f"{self.metric} has no label {', '.join(sorted(unknown))}"
        if not any(all(found.get(label) == value for label, value in self.equal) for found in named):
            return f"no {self.metric} with {dict(self.equal)}"
        return ""


def selectors(query: str) -> Iterator[Selector]:
    """Every selector of a query. Raises ValueError where it is no PromQL."""
    found: list[tuple[promql_parser.VectorSelector, list[str]]] = []
    grouped: list[list[str]] = []

    def enter(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            grouped.append(list(node.modifier.labels) if node.modifier else [])
        elif isinstance(node, promql_parser.VectorSelector):
            found.append((node, [label for labels in grouped for label in labels]))

    def leave(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            grouped.pop()

    promql_parser.walk(promql_parser.parse(query), enter, leave)
    for node, labels in found:
        matchers = [one for one in node.matchers.matchers if one.name != "__name__"]
        name = node.name or next(one.value for one in node.matchers.matchers if one.name == "__name__")
        yield Selector(
            name,
            tuple((one.name, one.value) for one in matchers if one.op == promql_parser.MatchOp.Equal),
            frozenset([*labels, *(one.name for one in matchers)]),
        )
