"""Reading a resource so that no field of it is passed over in silence.

Every field is either taken (translated), or named as one that means something only in a cluster; what is left
when a reader closes is a problem with its file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from mesh.resources import Map, MeshError, Position, Seq, position


@dataclass(frozen=True, slots=True)
class ClusterOnly:
    """A field that has no effect on the local mesh, and why."""

    at: Position
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.at}: {self.what}: {self.why}"


@dataclass
class Report:
    """What came up while resources were translated."""

    problems: list[str] = field(default_factory=list)
    cluster_only: list[ClusterOnly] = field(default_factory=list)

    def problem(self, at: Position, text: str) -> None:
        if (line := f"{at}: {text}") not in self.problems:
            self.problems.append(line)

    def only_in_cluster(self, at: Position, what: str, why: str) -> None:
        if (entry := ClusterOnly(at, what, why)) not in self.cluster_only:
            self.cluster_only.append(entry)

    def raise_problems(self) -> None:
        if self.problems:
            raise MeshError("\n".join(self.problems))


class Fields:
    """A mapping that is read field by field; as a context manager it reports what was not read."""

    def __init__(self, node: Any, where: str, report: Report, at: Position | None = None) -> None:
        if not isinstance(node, Map):
            raise MeshError(f"{at or where}: {where}: expected a mapping, got {_brief(node)}")
        self.node, self.where, self.report = node, where, report
        self.read: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for key in self.node:
                if key not in self.read:
                    self.report.problem(
                        self.at(key), f"{self.where}.{key} is used here but not translated for the local mesh"
                    )

    def __contains__(self, key: str) -> bool:
        return self.node.get(key) is not None

    def at(self, key: str | None = None) -> Position:
        return self.node.at if key is None else position(self.node, key)

    def fail(self, key: str, text: str) -> MeshError:
        """An error about a field, to raise."""
        return MeshError(f"{self.at(key)}: {self.where}.{key}: {text}")

    def take(self, key: str) -> Any:
        """The field as it stands, or None."""
        self.read.add(key)
        return self.node.get(key)

    def only_in_cluster(self, why: str, *keys: str) -> None:
        """Note the given fields, where they are set, as without effect here."""
        for key in keys:
            if self.take(key) is not None:
                self.report.only_in_cluster(self.at(key), f"{self.where}.{key}", why)

    def text(self, key: str, default: str = "", choices: tuple[str, ...] = ()) -> str:
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.fail(key, f"expected text, got {value!r}; quote it")
        if choices and value not in choices:
            raise self.fail(key, f"{value} is not translated; known here: {', '.join(choices)}")
        return value

    def integer(
        self, key: str, default: int | None = None, low: int = 0, high: int = 2**32 - 1
    ) -> int | None:
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"expected a whole number in {low}..{high}, got {value!r}")
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(key, f"expected true or false, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float | None:
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(key, f"expected a number, got {value!r}")
        return float(value)

    def duration(self, key: str) -> str | None:
        """The field as Envoy writes durations ("1.5s"), from Go's way ("1m30s", "500ms")."""
        value = self.take(key)
        if value is None:
            return None
        try:
            return seconds(str(value))
        except ValueError as error:
            raise self.fail(key, str(error)) from None

    def percent(self, key: str, default: float | None = None) -> float | None:
        """A Percent message, `{value: 0..100}`; a message without a value is 0."""
        if self.node.get(key) is None:
            self.read.add(key)
            return default
        with self.fields(key) as message:
            value = message.number("value", 0.0)
            assert value is not None
            if not 0 <= value <= 100:
                raise message.fail("value", f"expected 0..100, got {value:g}")
            return value

    def fields(self, key: str) -> Fields:
        """A nested mapping; an empty one where it is not set."""
        value = self.take(key)
        return Fields(
            Map(self.at(key)) if value is None else value, f"{self.where}.{key}", self.report, self.at(key)
        )

    def items(self, key: str) -> Iterator[tuple[Any, str, Position]]:
        """Each entry of a list: value, name for messages, position."""
        value = self.take(key)
        if value is None:
            return
        if not isinstance(value, Seq):
            raise self.fail(key, f"expected a list, got {_brief(value)}")
        for index, (item, at) in enumerate(zip(value, value.item_at, strict=True)):
            yield item, f"{self.where}.{key}[{index}]", at

    def each(self, key: str) -> Iterator[Fields]:
        """Each entry of a list of mappings; each must be closed by its user."""
        for item, where, at in self.items(key):
            yield Fields(item, where, self.report, at)

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        found = []
        for item, where, at in self.items(key):
            if not isinstance(item, str):
                raise MeshError(f"{at}: {where}: expected text, got {item!r}; quote it")
            found.append(item)
        return found

    def mapping(self, key: str) -> dict[str, str]:
        """A mapping of strings to strings, such as labels."""
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, Map) or not all(isinstance(v, str) for v in value.values()):
            raise self.fail(key, "expected a mapping of text to text; quote numbers and booleans")
        return dict(value)


def _brief(value: Any) -> str:
    if isinstance(value, Map | Seq):
        return "a mapping" if isinstance(value, Map) else "a list"
    return "nothing" if value is None else repr(value)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> str:
    """A Go duration as a protobuf one: "1m30s" -> "90s", "250ms" -> "0.25s". Raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a duration such as 500ms, 10s or 1m30s, got {text!r}")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return f"{total:.9f}".rstrip("0").rstrip(".") + "s"
