"""Packages of ops that TF Serving's binary has linked in and TensorFlow's Python package has not."""

from __future__ import annotations

import importlib
import logging
import os

log = logging.getLogger(__name__)

PACKAGES = ("tensorflow_text",)
_loaded: set[str] = set()


def load() -> bool:
    """Import those that are installed; False when there is none that was not imported before."""
    # Set for programs that make models with Keras 2; with it TensorFlow Text asks for tf_keras, which its ops do not.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    found = False
    for name in PACKAGES:
        if name in _loaded:
            continue
        _loaded.add(name)
        try:
            importlib.import_module(name)
        except ImportError as error:  # not installed, or built for another TensorFlow
            log.info("Ops of %s are not available: %s", name, error)
        else:
            found = True
    return found
