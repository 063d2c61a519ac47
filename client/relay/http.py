"""The relay's HTTP side: Prometheus metrics, and where the page is offered, the live page and POST /v1/detect."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import exposition

from client.relay.board import Board
from client.relay.config import RelayConfig
from client.relay.live import LivePages
from client.relay.metrics import RelayMetrics
from client.relay.scheduler import Scheduler
from client.relay.shadow_http import GATE, REPORT, ShadowHttp

if TYPE_CHECKING:
    from client.relay.photo import Photos
    from client.relay.shadow import Shadow  # needs the extra `rollout`

log = logging.getLogger("sightline.relay")
aiohttp_log = logging.getLogger("sightline.relay.http")
# Who sends what is no HTTP, as a camera that takes this for the port of streams, or a body that is not what its headers
# say, is told so; a traceback in the log would say no more.
_THEIR_FAULT = (HttpProcessingError, web.RequestPayloadError)
aiohttp_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], _THEIR_FAULT)))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METRICS = "/metrics"
COUNTS_ONLY = {METRICS, REPORT, GATE}  # asked for under any name: they show counts, and change nothing
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "sightline",
    "X-Content-Type-Options": "nosniff",
}


class HttpSide:
    """Listens on one port, on the relay's event loop."""

    def __init__(
        self,
        config: RelayConfig,
        scheduler: Scheduler,
        metrics: RelayMetrics,
        board: Board,
        shadow: Shadow | None,
    ) -> None:
        self._metrics, self._names = metrics, {"localhost", *(name.lower() for name in config.http_names)}
        app = web.Application(middlewares=[self._guard], client_max_size=config.max_image_bytes)
        app.router.add_get(METRICS, self._scrape)
        self._pages: LivePages | None = None
        self._photos: Photos | None = None
        if config.has_page:
            from client.relay.photo import Photos  # needs OpenCV, which a relay's container has not

            self._pages = LivePages(config, board)
            self._photos = Photos(config, scheduler, metrics)
            app.router.add_get("/live", self._pages.handle)
            app.router.add_post("/v1/detect", self._photos.handle)
            for name, (body, content_type) in _page_files().items():
                app.router.add_get("/" if name == "index.html" else f"/{name}", _static(body, content_type))
        ShadowHttp(shadow).add_to(app.router, pictures=config.has_page)
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=2.0, logger=aiohttp_log
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; the real port. Raises OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def drain(self, grace_s: float) -> None:
        """Answer the pictures that are in flight, and say good-bye to the pages; takes no longer than `grace_s`."""
        if self._photos is not None and self._pages is not None:
            await asyncio.gather(self._photos.close(grace_s), self._pages.close())

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _scrape(self, _request: web.Request) -> web.Response:
        body = exposition.generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: exposition.CONTENT_TYPE_LATEST})

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what a stranger's web page asks for; say every error as JSON."""
        try:
            if request.path not in COUNTS_ONLY:
                self._check_host(request)
                _check_origin(request)
            return await handler(request)
        except web.HTTPException as error:
            headers = {k: v for k, v in error.headers.items() if k == hdrs.ALLOW}
            if error.status in (429, 503):
                headers["Retry-After"] = "1"
            if error.status >= 500:
                log.info("%s %s: %d %s", request.method, request.path, error.status, error.text)
            return web.json_response({"error": error.text}, status=error.status, headers=headers)
        except ConnectionError:
            return web.Response(status=400)  # nobody is there to be told
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            if request.writer.output_size:
                raise  # an answer has begun: the connection is closed
            return web.json_response({"error": "internal error; the relay's log says more"}, status=500)

    def _check_host(self, request: web.Request) -> None:
        """A page of another site can make a browser ask us under a name of its own (DNS rebinding), not under an
        address. Raises 403."""
        host = _host_name(request.headers.get(hdrs.HOST, ""))
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if host not in self._names:
                raise web.HTTPForbidden(
                    text=f"host {host!r} is not known here: ask for localhost or an IP address, or add the name "
                    "with --http-name"
                ) from None


def _host_name(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _check_origin(request: web.Request) -> None:
    """Raise 403 if a page of another origin asks."""
    origin = request.headers.get(hdrs.ORIGIN)
    host = request.headers.get(hdrs.HOST, "").lower()
    if origin is not None and origin.lower().partition("://")[2] != host:
        raise web.HTTPForbidden(text="a page of another origin may not ask this")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _page_files() -> dict[str, tuple[bytes, str]]:
    """The page's files by name: their bytes and media types."""
    files = {}
    for file in resources.files("client.relay").joinpath("page").iterdir():
        content_type = _TYPES.get(file.name.rpartition(".")[2])
        if content_type is not None:
            files[file.name] = (file.read_bytes(), content_type)
    return files


def _static(body: bytes, content_type: str) -> Handler:
    async def get(_request: web.Request) -> web.Response:
        charset = None if content_type.startswith("image/") else "utf-8"
        return web.Response(body=body, content_type=content_type, charset=charset)

    return get
