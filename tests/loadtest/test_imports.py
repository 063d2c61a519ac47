"""A load begins soon: what only its report needs is imported at its end."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["sightline.load", "loadtest.control", "loadtest.users"])
def test_no_load_waits_for_plots_and_statistics(module: str) -> None:
    script = (
        f"import {module}, sys; print(sorted({{'matplotlib', 'scipy', 'tensorflow'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
