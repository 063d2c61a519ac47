"""The relay as a process: ports, health, signals."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from client.channel import MAX_MESSAGE_BYTES, split_address
from client.relay.board import Board
from client.relay.config import RelayConfig
from client.relay.health import set_health, watch_model
from client.relay.metrics import RelayMetrics
from client.relay.service import SERVICE, RelayService
from client.report import outcome_text

if TYPE_CHECKING:
    from client.relay.http import HttpSide

log = logging.getLogger("sightline.relay")

SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # else a second relay would take the same port and get half of the cameras
    # A camera that vanished without a word is found in 15 s, also where something between acknowledges all that we
    # send: then the third number, 60 s by default, ends the wait for a ping's answer. Cameras may ask us the same.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in glibc's malloc.h
KEPT_BYTES = 32 << 20  # as much as glibc takes for the second (DEFAULT_MMAP_THRESHOLD_MAX)


class PortTaken(OSError):
    """A port cannot be listened on; the text names it and the option that changes it."""


class Relay:
    """A running relay, as an async context manager; leaving it drains. `port` and `http_port` are the real ones."""

    def __init__(self, config: RelayConfig) -> None:
        self.config = config
        self.metrics = RelayMetrics()
        self.port = 0
        self.http_port: int | None = None

    async def __aenter__(self) -> Self:
        config = self.config
        host, port = split_address(config.listen, "listen")
        _check_free(host, port, "--listen")
        if config.http_port is not None:
            _check_free(host, config.http_port, "--http-port")
        self._board = Board()
        self._service = RelayService(config, self.metrics, self._board)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((self._service.handler(),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await set_health(self._health, serving=False)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._server.add_insecure_port(config.listen)
        await self._server.start()
        self._http: HttpSide | None = None
        if config.http_port is not None:
            from client.relay.http import HttpSide  # a relay without HTTP starts 0.2 s sooner

            self._http = HttpSide(
                config, self._service.scheduler, self.metrics, self._board, self._service.predictor.shadow
            )
            try:
                self.http_port = await self._http.start(host, config.http_port)
            except OSError:  # somebody was faster
                await self._server.stop(0)
                await self._service.close()
                raise
        self._watch = asyncio.ensure_future(
            watch_model(
                self._health, self._service.predictor, self.metrics, self._board, config.health_interval_s
            )
        )
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        """Results in flight are delivered, waiting frames dropped{shutdown}, then everything is closed."""
        self._watch.cancel()
        await asyncio.wait({self._watch})  # whatever it ended of
        await set_health(self._health, serving=False)
        self._service.drain()
        drained = [self._server.stop(self.config.grace_s)]
        if self._http is not None:
            drained.append(self._http.drain(self.config.grace_s))
        await asyncio.gather(*drained)
        await self._service.close()
        if self._http is not None:
            await self._http.close()


def _check_free(host: str, port: int, option: str) -> None:
    """Raise PortTaken if host:port cannot be listened on: gRPC's own message names neither cause nor option."""
    try:
        family, kind, proto, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with {option}"
        ) from error


async def _serve(config: RelayConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with Relay(config) as relay:
        host = split_address(config.listen, "listen")[0]
        log.info("relay listens on %s:%d, model server %s", host, relay.port, config.target)
        if relay.http_port is not None:
            shown = f"[{host}]" if ":" in host else host
            log.info("metrics at http://%s:%d/metrics", shown, relay.http_port)
            if config.has_page:
                log.info("live page at http://%s:%d/", shown, relay.http_port)
        await stop.wait()
        log.info("relay stops: finishing what is in flight")
    log.info("relay stopped: %s", outcome_text(relay.metrics.account).replace("captured", "received"))


def _keep_freed_memory() -> None:
    """Let glibc keep up to KEPT_BYTES of freed memory; does nothing where there is no glibc.

    Else it gives the last frame's buffers back to the system, and gets them again for the next one: some 50 page faults
    a frame, a tenth of the relay's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def run(config: RelayConfig) -> int:
    """Run the relay until SIGTERM or SIGINT. Returns the exit status: 0, or 1 after one line on stderr."""
    if config.has_page and find_spec("cv2") is None:
        raise ValueError(
            "the page and /v1/detect need OpenCV, which is not installed here: run with --no-page"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # A frame makes hundreds of objects that are in no cycle and soon gone. To look for garbage after each 700 of
    # them, as Python does unless told otherwise, took some 5 % of the relay's time.
    gc.set_threshold(10_000)
    _keep_freed_memory()
    try:
        asyncio.run(_serve(config))
    except OSError as error:
        print(f"sightline relay: {error}", file=sys.stderr)
        return 1
    return 0
