"""Which versions of a model the file system offers, and which of them its policy asks for."""

from __future__ import annotations

import logging
import os
import re

from tensorflow.python.framework import errors
from tensorflow.python.lib.io import file_io

from serving.config import ModelConfig
from serving.errors import Code, ServingError, invalid

log = logging.getLogger(__name__)

_VERSION = re.compile(r"[+-]?\d{1,40}")


def version_number(name: str) -> int | None:
    """A folder's name as a version (`00000123` is 123), or None when it is not an int64."""
    if _VERSION.fullmatch(name) is None:
        return None
    number = int(name)
    return number if -(1 << 63) <= number < 1 << 63 else None


def aspired_versions(config: ModelConfig) -> dict[int, str]:
    """Version number to folder for the versions that should be served now.

    Raises ServingError when the base path is missing or cannot be read; one without any of them gives none (and a
    warning).
    """
    try:
        # Folders of an object store are listed with a slash at the end.
        names = sorted(name.rstrip("/") for name in file_io.list_directory_v2(config.base_path))
    except errors.NotFoundError:
        if file_io.file_exists_v2(config.base_path):
            raise ServingError(Code.FAILED_PRECONDITION, f"{config.base_path}; Not a directory") from None
        raise invalid(
            f"Could not find base path {config.base_path} for servable {config.name} with error "
            f"NOT_FOUND: {config.base_path} not found"
        ) from None
    except errors.OpError as error:  # a folder that may not be read
        raise ServingError(Code(error.error_code), error.message) from None
    found: dict[int, str] = {}
    for name in names:
        number = version_number(name)
        if number is None:
            continue
        if number in found:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s", number, name
            )
        found[number] = os.path.join(config.base_path, name)
    chosen = _chosen(config, found)
    if not chosen:
        log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory "
            "as a number (eg. '/1/')?",
            config.name,
            config.base_path,
        )
    return chosen


def _chosen(config: ModelConfig, found: dict[int, str]) -> dict[int, str]:
    if config.policy == "all":
        return found
    if config.policy == "latest":
        return {number: found[number] for number in sorted(found)[-config.latest :]}
    for number in set(config.specific) - set(found):
        log.warning(
            "Version %d of servable %s, which was requested to be served as a 'specific' version in the "
            "servable's version policy, was not found in the file system",
            number,
            config.name,
        )
    return {number: found[number] for number in config.specific if number in found}
