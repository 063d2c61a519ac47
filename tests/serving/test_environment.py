"""What the server tells TensorFlow by the environment reaches it, whichever module imports it first."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

ONEDNN = "oneDNN custom operations are on"


def python(code: str, **env: str) -> tuple[str, str]:
    """Run it in a process whose environment says nothing of TensorFlow but this; its outputs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean | env, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have kernels of their own")
@pytest.mark.parametrize(("env", "on"), [({}, True), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, False)])
def test_onednns_kernels_are_on_unless_one_says_no(env: dict[str, str], on: bool) -> None:
    _, log = python("import serving.tensors", TF_CPP_MIN_LOG_LEVEL="0", **env)
    assert (ONEDNN in log) is on


def test_the_server_does_without_keras() -> None:
    code = "import sys; from serving import main; main(['--help']); import tensorflow; print('keras' in sys.modules)"
    assert python(code)[0].endswith("False\n")


def test_who_uses_the_engine_in_process_keeps_keras() -> None:
    code = "import sys; import serving.sessions; print('keras' in sys.modules)"
    assert python(code)[0].endswith("True\n")
