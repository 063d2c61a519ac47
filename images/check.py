"""What a built image must be: no root, no shell, nothing setuid, an entrypoint that is there, not too big."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

from images.oci import Image

# Nothing in an image may start one of these: an attacker who can run a command has nothing to run.
SHELLS = frozenset(
    ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "csh", "tcsh", "fish", "busybox", "toybox"]
)
INSTALLERS = frozenset(["apt", "apt-get", "dpkg", "apk", "rpm", "dnf", "yum", "pip", "pip3"])
TOOLBOXES = frozenset(["debug"])  # for people: attached to a pod for as long as somebody looks into it
NONROOT = re.compile(r"65532(:65532)?")  # distroless' nonroot; Kubernetes' runAsNonRoot needs the number
LABELS = ("title", "description", "licenses", "version", "revision")
# Unpacked, bytes. scipy with its libraries and bytecode: 139.7 MB on amd64, 145.3 MB on arm64 (1.17.1, Python 3.13).
RELAY, SCIPY = 200_000_000, 146_000_000
# The relays' limits; the others hold a model server or a training framework and have none.
LIMITS = {"relay": RELAY, "relay-rollout": RELAY + SCIPY}


def problems(image: Image) -> list[str]:
    """What is wrong, a line each; empty if nothing is."""
    return [
        *_files(image),
        *_size(image),
        *_labels(image),
        *([] if image.name.startswith("model") else _run(image)),
    ]


def _files(image: Image) -> Iterator[str]:
    tools = image.name in TOOLBOXES
    for path, file in image.files.items():
        name = PurePosixPath(path).name
        mode = file.member.mode
        if name in SHELLS and not file.member.isdir() and not tools:
            yield f"/{path} is a shell"
        if name in INSTALLERS and PurePosixPath(path).parent.name in ("bin", "sbin") and not tools:
            yield f"/{path} installs software"
        if file.member.isfile() and mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"/{path} is setuid or setgid"
        # A sticky folder (/tmp) is for everyone; links' modes mean nothing.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and (file.member.isfile() or file.member.isdir()):
            yield f"/{path} can be written by everyone"


def _size(image: Image) -> Iterator[str]:
    unpacked = sum(layer.unpacked for layer in image.layers)
    limit = LIMITS.get(image.name)
    if limit is not None and unpacked > limit:
        yield f"{unpacked / 1e6:.0f} MB unpacked, more than {limit / 1e6:.0f} MB"


def _labels(image: Image) -> Iterator[str]:
    labels = image.run_config.get("Labels") or {}
    for name in LABELS:
        if not labels.get(f"org.opencontainers.image.{name}"):
            yield f"no label org.opencontainers.image.{name}"


def _run(image: Image) -> Iterator[str]:
    config = image.run_config
    user = config.get("User", "")
    if not NONROOT.fullmatch(user):
        yield f"runs as user {user or 'root'!r}; expected 65532"
    entrypoint = config.get("Entrypoint") or []
    if not entrypoint:
        yield "has no entrypoint"
    elif not entrypoint[0].startswith("/"):
        yield f"entrypoint {entrypoint[0]!r} is no absolute path"
    elif not _exists(image, entrypoint[0].strip("/")):
        yield f"entrypoint {entrypoint[0]} is not in the image"


def _exists(image: Image, path: str) -> bool:
    """Whether a path is there; Debian's /bin is a link to /usr/bin, which entries may or may not spell out."""
    return path in image.files or f"usr/{path}" in image.files
