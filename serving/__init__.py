"""The embedded server: TF Serving's protocol (gRPC, REST, metrics, flags) on TensorFlow's Python package.

`main(argv)` is `sightline serve`; `serving.sessions.load` is the engine by itself, for use in process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import model.kernels  # noqa: F401
from serving import lazy_tensorflow

# As in client/__init__.py: fewer threads on a request's way.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

# TensorFlow heeds these only if they are there before it is imported, which many a module here does.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
# Each session has its own threads; else the first one's count holds for the process.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the server with tensorflow_model_server's flags until SIGTERM or SIGINT; returns the exit code."""
    lazy_tensorflow.install()
    from serving.app import run  # TensorFlow is not imported before the flags are known to be good

    return run(argv)
