"""What the processes of one run have to know: the profile, where to send, and where the results go.

The plan travels as a JSON file, whose path is in an environment variable: Locust's workers are processes of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.channel import split_address
from client.security import Security
from loadtest.profile import Profile
from model.contract import MODEL_NAME

VARIABLE = "SIGHTLINE_LOAD_PLAN"
PLAN, RESULT, REPORT, TIMELINE = "plan.json", "result.json", "report.html", "timeline.csv"
COMPARISON = "compare.html"
BEGAN, EVENTS = "began", "events.jsonl"  # what the load and whoever switches the mesh tell each other
FAILED = "sightline-failed"  # a user's message to the master: what ended it
OK, MISSED, DOUBTFUL = 0, 1, 3  # exit status; 2 is for usage
INTERRUPTED = 130  # Locust's exit status after Ctrl-C where there is nothing to tell
SIGNING_KEY = "token-key.pem"  # as mesh.tokens names it


@dataclass(frozen=True)
class Target:
    """Where users send: `relay` and `server` are host:port, `rest` a URL.

    `ca`, `cert`, `key`: PEM files for TLS to the relay's gateway. `tokens`: a folder with the cameras' tokens,
    `<camera id>.jwt`, or with the key that signs them (token-key.pem, as `sightline mesh token` keeps it).
    Raises ValueError for what can't be.
    """

    relay: str = "127.0.0.1:8600"
    server: str = "127.0.0.1:8500"
    rest: str = "http://127.0.0.1:8501"
    model_name: str = MODEL_NAME
    ca: str = ""
    cert: str = ""
    key: str = ""
    tokens: str = ""

    def __post_init__(self) -> None:
        for name in ("relay", "server"):
            split_address(getattr(self, name), name)
        url = urlsplit(self.rest)
        if url.scheme not in {"http", "https"} or not url.hostname or url.username:
            raise ValueError(f"--rest: expected http://host:port or https://host:port, got {self.rest!r}")
        for name in ("ca", "cert", "key"):
            if getattr(self, name) and not Path(getattr(self, name)).is_file():
                raise ValueError(f"--{name}: no file {getattr(self, name)}")
        if self.tokens and not Path(self.tokens).is_dir():
            raise ValueError(f"--tokens: no folder {self.tokens}")

    def security(self) -> Security:
        """TLS and tokens for cameras. Raises ValueError, or mesh.resources.MeshError for a bad key."""
        return Security(
            Path(self.ca) if self.ca else None,
            self._token_of() if self.tokens else None,
            Path(self.cert) if self.cert else None,
            Path(self.key) if self.key else None,
        )

    def _token_of(self) -> Callable[[str], str]:
        folder = Path(self.tokens)
        if (folder / SIGNING_KEY).is_file():
            from mesh.tokens import TokenIssuer

            return TokenIssuer(folder).token

        def read(camera_id: str) -> str:
            path = folder / f"{camera_id}.jwt"
            if not path.is_file():
                raise ValueError(f"--tokens: {folder} has neither {SIGNING_KEY} nor {path.name}")
            return path.read_text().strip()

        return read


@dataclass(frozen=True)
class Search:
    """How many users hold: found by trying. See loadtest.search.

    Each number of users is tried for `settle_s`, which doesn't count, and `measure_s`; never more than `most`.
    """

    most: int = 512
    settle_s: float = 2.0
    measure_s: float = 10.0


@dataclass(frozen=True)
class Plan:
    """One run. `folder` gets the results. `samples`: each process writes each frame's fate into a CSV file there."""

    profile: Profile
    target: Target
    folder: Path
    samples: bool = False
    search: Search | None = None

    def save(self) -> Path:
        """Write it into its folder."""
        path = self.folder / PLAN
        path.write_text(json.dumps(asdict(self) | {"folder": str(self.folder)}, indent=1))
        return path

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What `save` wrote; the folder is the file's."""
        data: dict[str, Any] = json.loads(path.read_text())
        search = Search(**data["search"]) if data["search"] else None
        profile, target = Profile.of_dict(data["profile"]), Target(**data["target"])
        return cls(profile, target, path.parent, data["samples"], search)

    @classmethod
    def of_environment(cls) -> Plan:
        """The plan of this process."""
        path = os.environ.get(VARIABLE)
        if not path:
            raise ValueError(f"{VARIABLE} names no plan: start the load with `sightline load`")
        return cls.read(Path(path))
