"""Names of sources: URLs without their secrets, and camera ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

HIDDEN = "***"
DEFAULT_SEED = 3  # of the synthetic camera: a busy street by day

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Keys whose value is a secret, in a query or (some recorders: /user=admin_password=x_channel=1) in a path.
_SECRET = re.compile(
    r"((?:[a-z0-9]+[-_.])*(?:pass(?:word|wd|phrase)?|pwd?|psw|token|jwt|secret|auth(?:orization)?|credentials?"
    r"|signature|sig|session(?:id)?|(?:api|access|stream|secret)?[-_]?key)=)[^&;#\s]*",
    re.IGNORECASE,
)


def is_url(spec: str) -> bool:
    """Whether a source is named by a URL (`rtsp://...`)."""
    return _URL.match(spec) is not None


def redact(url: str) -> str:
    """A URL as it may be shown: user, password and secret values of the query are replaced by `***`.

    Where a password holds characters that should have been percent-encoded (`@ / ? #`), it cannot be told
    for sure where it ends. Then more is hidden, never less. What is no URL may be a mistyped one (`rtsp:/user:...@`):
    where there is a colon before the last `@`, all up to there is hidden. Else it comes back as it was.
    """
    scheme = _URL.match(url)
    if scheme is None:
        before, _, rest = url.rpartition("@")
        return f"{HIDDEN}@{rest}" if ":" in before else url
    rest = url[scheme.end() :]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority or (":" in authority and "@" in rest):
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return scheme.group() + _SECRET.sub(rf"\g<1>{HIDDEN}", rest)


def camera_id(spec: str) -> str:
    """The camera id that a source has unless it is given one: `webcam-0`, a host, a file's stem, ..."""
    if spec.isascii() and spec.isdigit():
        return f"webcam-{int(spec)}"
    if is_url(spec):
        rest = redact(spec).partition("://")[2].removeprefix(f"{HIDDEN}@")
        host = re.match(r"\[[^\]]*\]|[^:/?#]*", rest)
        return _clean(host.group() if host else "")
    if spec == "synthetic" or spec.startswith("synthetic:"):
        seed = re.search(r"\bseed=(\d+)", spec)
        return f"synthetic-{int(seed.group(1)) if seed else DEFAULT_SEED}"
    path = Path(redact(spec).removeprefix(f"{HIDDEN}@"))
    if re.search(r"[*?\[]", path.name):
        path = path.parent
    return _clean(path.stem or path.absolute().name)


def camera_ids(specs: Sequence[str]) -> list[str]:
    """One camera id for each source, all different: a name that comes again gets `-2`, `-3`, ..."""
    taken: set[str] = set()
    ids = []
    for spec in specs:
        name = stem = camera_id(spec)
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        ids.append(name)
    return ids


def _clean(name: str) -> str:
    """Letters, digits, dot, dash and underscore: safe in a file name, a metric label and a terminal."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:64] or "camera"
