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


def test_the_server_does_without_tensorflows_public_api() -> None:
    """And without Keras, which that one brings along; all ops but one of TensorFlow Lite's experiments are there."""
    code = (
        "import importlib, pathlib, sys\n{first}\nimport serving\n"
        "for file in pathlib.Path(serving.__file__).parent.glob('[a-z]*.py'):\n"
        "    importlib.import_module('serving.' + file.stem)\n"
        "from tensorflow.python.client import pywrap_tf_session as session\n"
        "from tensorflow.core.framework import op_def_pb2\n"
        "ops = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))\n"
        "print('keras' in sys.modules, 'tensorflow._api' in sys.modules, *(op.name for op in ops.op))"
    )
    lean = python(code.format(first="from serving import main; main(['--help'])"))[0].splitlines()[-1].split()
    whole = python(code.format(first=""))[0].split()  # who uses the engine in process has all of it
    assert (lean[:2], whole[:2]) == (["False", "False"], ["True", "True"])
    assert len(lean) > 1500
    assert set(whole[2:]) - set(lean[2:]) <= {"AudioMicrofrontend"}
    assert set(lean[2:]) <= set(whole[2:])


def test_who_asks_for_tensorflows_public_api_gets_it() -> None:
    code = (
        "import sys; from serving import lazy_tensorflow; lazy_tensorflow.install(); import tensorflow as early\n"
        "from tensorflow.python.framework import ops\n"
        "print('tensorflow._api' in sys.modules, end=' ')\n"
        "from tensorflow import constant; import tensorflow as late\n"
        "print(early.Graph is late.Graph is ops.Graph, constant([1]).numpy(), early.__version__ == late.__version__)"
    )
    assert python(code)[0] == "False True [1] True\n"
