"""Packages of ops that TF Serving's binary has linked in and TensorFlow's Python package has not."""

from __future__ import annotations

import importlib
import logging

log = logging.getLogger(__name__)

PACKAGES = ("tensorflow_text",)
_loaded: set[str] = set()


def load() -> bool:
    """Import those that are installed; False when there is none that was not imported before."""
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
