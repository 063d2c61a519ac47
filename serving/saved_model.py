"""A SavedModel's file, read, with the errors of TensorFlow's C++ loader where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tensorflow.python.lib.io import file_io
from tensorflow.python.saved_model import loader_impl
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

from serving.errors import Code, ServingError


def read(path: str, tags: Sequence[str]) -> Any:
    """TensorFlow's loader of the SavedModel in folder `path`, which has a graph of exactly these `tags`.

    Raises ServingError: NOT_FOUND for a missing file or tag, DATA_LOSS or OUT_OF_RANGE for a file that does not parse.
    """
    if file_io.file_exists_v2(os.path.join(path, "export.meta")):  # from before SavedModel
        raise ServingError(Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")
    files = [os.path.join(path, name) for name in ("saved_model.pb", "saved_model.pbtxt")]
    if not any(map(file_io.file_exists_v2, files)):
        raise ServingError(
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {path}",
        )
    try:
        loader = loader_impl.SavedModelLoader(path)
    except Exception:  # the parser's errors are of many kinds
        raise _unreadable(path) from None
    if not any(set(graph.meta_info_def.tags) == set(tags) for graph in loader.saved_model.meta_graphs):
        text = (
            f"Could not find meta graph def matching supplied tags: {_tags_text(tags)}. To inspect available "
        )
        text += "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
        raise ServingError(Code.NOT_FOUND, text)
    return loader


def _unreadable(path: str) -> ServingError:
    """Why C++ cannot parse the SavedModel in folder `path`, which Python could not."""
    binary, text = (os.path.join(path, f"saved_model.{suffix}") for suffix in ("pb", "pbtxt"))
    if not file_io.file_exists_v2(binary):
        return ServingError(Code.DATA_LOSS, f"Can't parse {text} as text proto")
    try:  # it reads the file as a C++ loader does: OUT_OF_RANGE where it ends too soon
        fingerprinting.CreateFingerprintDef(path)
    except fingerprinting.FingerprintException as error:
        _, _, status = str(error).partition("\n")
        name, _, message = status.partition(": ")
        if name in Code.__members__:
            return ServingError(Code[name], message)
    return ServingError(Code.DATA_LOSS, f"Can't parse {binary} as binary proto")


def _tags_text(tags: Sequence[str]) -> str:
    return "{ " + " ".join(sorted(tags)) + " }"
