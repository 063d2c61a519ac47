"""TensorFlow without its chatter at start: it tells of absent GPUs before any log level is heard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import model.kernels  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """What the process writes to its standard error meanwhile is dropped, C++ included. Exceptions pass."""
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


with quiet_stderr():
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for GPUs now, rather than in the midst of other output

tf.get_logger().setLevel(
    "ERROR"
)  # deprecation notices about how TensorFlow 1 saved models, as TF Serving does

__all__ = ["quiet_stderr", "tf"]
