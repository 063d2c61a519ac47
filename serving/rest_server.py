"""The REST port: uvicorn (with httptools), which reads HTTP, on a thread of its own."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn

from serving.rest import RestApp

KEEP_ALIVE_S = 50  # libevent's


class RestServer:
    """uvicorn on its own thread."""

    def __init__(self, app: RestApp) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=1024,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket; returns once it accepts."""
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="rest", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def begin_stop(self, grace_s: float) -> None:
        """Take no new requests; those in flight may go on for `grace_s` seconds. Returns at once."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True

    def join(self, timeout_s: float) -> None:
        """Wait until the requests in flight are answered."""
        if self._thread is not None:
            self._thread.join(timeout_s)
