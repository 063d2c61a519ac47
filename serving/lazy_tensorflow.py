"""TensorFlow without its public API, which takes most of the time and much of the memory of `import tensorflow`.

The server needs a dozen of TensorFlow's own modules (`tensorflow.python...`); the first import of any of them imports
the package itself, with all that it can do. `install` puts an empty package there in its place. Whoever asks that one
for anything, as TensorFlow Text's ops do, gets the real one.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

NAME = "tensorflow"
_EXPORTED = ("__version__", "__internal__")


class _Package(ModuleType):
    """An empty `tensorflow` whose modules can be imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _EXPORTED:
            raise AttributeError(name)  # asked by the import system and `inspect`, of every module
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
            try:
                importlib.import_module(NAME)
            except BaseException:
                sys.modules[NAME] = self
                raise
            self.__dict__.update(sys.modules[NAME].__dict__)
        return getattr(sys.modules[NAME], name)


def install() -> None:
    """Let TensorFlow's modules be imported without its public API; nothing where it was imported already."""
    if NAME in sys.modules or (spec := find_spec(NAME)) is None:
        return
    package = _Package(NAME)
    package.__spec__, package.__file__ = spec, spec.origin
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[NAME] = package
