"""How the optional parts of Sightline are installed."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """What to do where a package of an extra is missing.

    By the folder, never by name: what the public index has under the name `sightline` is somebody else's.
    """
    return f"in Sightline's folder, pip install '.[{extra}]'"
