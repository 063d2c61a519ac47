"""Each code has a configuration that triggers it and a good twin that is clean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.check import check
from mesh.check.findings import CODES
from mesh.check.page import page

CASES = Path(__file__).parent / "check_cases"
# What no single file can show; test_check_inputs.py has them.
ELSEWHERE = {"SL-M001", "SL-M006"}


@dataclass(frozen=True)
class Case:
    code: str
    prelude: str
    bad: str
    good: str
    also: frozenset[str]


def _sections(path: Path) -> list[tuple[str, str]]:
    parts = re.split(r"^### (.*)\n", path.read_text(), flags=re.M)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _cases() -> list[Case]:
    preludes = dict(_sections(CASES / "prelude.yaml"))
    found: list[Case] = []
    for path in sorted(CASES.glob("*.yaml")):
        if path.name == "prelude.yaml":
            continue
        head, bad, also = "", "", frozenset[str]()
        for title, text in _sections(path):
            if title == "good":
                code, _, names = head.partition(" with ")
                prelude = "".join(preludes[name] + "---\n" for name in names.split())
                found.append(Case(code, prelude, bad, text, also))
            elif title.startswith("also "):
                also = frozenset(title.split()[1:])
            else:
                head, bad, also = title, text, frozenset()
    return found


ALL = _cases()


def _codes(text: str, folder: Path) -> set[str]:
    file = folder / "case.yaml"
    file.write_text(text)
    return {found.code.id for found in check([file]).findings}


@pytest.mark.parametrize("case", ALL, ids=[case.code for case in ALL])
def test_bad_is_found_and_good_is_clean(case: Case, tmp_path: Path) -> None:
    assert _codes(case.prelude + case.bad, tmp_path) == {case.code} | case.also
    assert _codes(case.prelude + case.good, tmp_path) == set()


def test_every_code_has_a_case() -> None:
    assert {case.code for case in ALL} == set(CODES) - ELSEWHERE


def test_the_page_lists_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mesh-check.md").read_text()
    assert text == page(), "write it anew: python -m mesh.check.page > docs/mesh-check.md"
    assert all(f"| {code} |" in text for code in CODES)
