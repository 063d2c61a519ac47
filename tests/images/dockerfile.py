"""The Dockerfile's stages, and the images that are made of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """One FROM: its base, its name, and its instructions (keyword, rest)."""

    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]

    def last(self, keyword: str) -> str:
        """The rest of the last instruction of that keyword; "" if there is none."""
        return next((rest for found, rest in reversed(self.instructions) if found == keyword), "")

    def vector(self, keyword: str) -> list[str]:
        """The last ENTRYPOINT or CMD, which is a JSON list: the shell's form has no shell to run it."""
        found: list[str] = json.loads(self.last(keyword))
        return found


def images() -> list[str]:
    """What `make images` builds where nothing is asked for."""
    found = re.search(r"^IMAGES \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1].split()


def arguments(text: str) -> dict[str, str]:
    """The defaults of the ARGs before the first stage."""
    head = text.partition("\nFROM ")[0]
    return dict(re.findall(r"^ARG (\w+)=(.*)$", head, re.MULTILINE))


def stages(text: str) -> dict[str, Stage]:
    """By name, in order."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: dict[str, Stage] = {}
    for part in re.split(r"^FROM ", joined, flags=re.MULTILINE)[1:]:
        head, *lines = [line for line in part.splitlines() if line]
        base, name = re.fullmatch(r"(?:--\S+ )?(\S+) AS (\S+)", head).groups()  # type: ignore[union-attr]
        split = (line.partition(" ") for line in lines)
        found[name] = Stage(base, name, tuple((keyword, rest) for keyword, _, rest in split))
    return found
