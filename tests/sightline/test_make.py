"""`make run`: what it is given reaches the command as it was written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `make tests` would have its own options go on to this make, and both say which folder they are in.
OWN = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    "source",
    [
        "rtsp://admin:pa$word;$(x)`y`'z@127.0.0.1:9/cam?channel=1&subtype=0",
        "a folder/with spaces",
        "0",
    ],
)
def test_a_source_is_no_shells_word(tmp_path: Path, source: str) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "sightline"
    command.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    command.chmod(0o755)
    for name in ("bin/python", "run.stamp"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["make", "run", f"VENV={tmp_path}", f"SOURCE={source}", "DURATION=3", "ARGS="],
        cwd=ROOT, capture_output=True, text=True, env=OWN,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["up", source, "--duration", "3"]
