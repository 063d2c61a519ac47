"""Webhook: each delivered result as an HTTP POST of its JSON object."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from client.backoff import Backoff
from client.errors import SinkError
from client.sinks.base import Lost, Sink
from client.sinks.jsonl import as_dict, to_json
from client.types import Result, Status

if TYPE_CHECKING:
    import aiohttp

ATTEMPTS = 4
TIMEOUT_S = 5.0  # of one attempt
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0  # between attempts


class Webhook(Sink[bytes]):
    """Posts delivered results, as the objects of client.sinks.jsonl, to an http(s) URL over a kept connection.

    2xx is success. No answer, 408, 429 and 5xx are tried again, up to 4 times in all; any other answer, a
    redirect too, loses the result at once. User and password of the URL travel as basic authentication. Of the
    URL only scheme and host are ever shown: the path is a secret in many webhooks.

    Raises:
        SinkError: `url` is none.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
            (parts.hostname or "").encode("idna")
        except ValueError:
            valid = False
        if not valid:
            raise SinkError("webhook: expected http(s)://host[:port]/path")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._shown = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self._shown

    def prepare(self, result: Result) -> bytes | None:
        """The body for a delivered result."""
        if result.status is not Status.DELIVERED:
            return None
        return to_json(as_dict(result))

    def put(self, item: bytes) -> None:
        """Post, and again if it may help. Whoever calls waits for that, an event loop too.

        Raises:
            Lost: it did not.
        """
        self._run(self._deliver(item))

    def close(self) -> None:
        if self._loop is not None:
            if self._session is not None:
                self._run(self._session.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._session = None

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this on an event loop of our own in a thread of its own: the caller's thread may be running one."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._shown, daemon=True)
            self._thread.start()
        doing = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            doing.result()
        finally:
            doing.cancel()  # where Ctrl-C ended the wait for it; else it is done

    async def _deliver(self, body: bytes) -> None:
        import aiohttp

        if self._session is None:
            # Nobody clears a jar of cookies here.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
            )
        backoff, trouble = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S), ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(backoff.next_s())
            try:
                status = await self._post(self._session, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                trouble = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
                continue
            if 200 <= status < 300:
                return
            trouble = f"it answers {status}"
            if status < 500 and status not in (408, 429):
                break
        raise Lost(trouble)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> int:
        headers = {"Content-Type": "application/json"}
        async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status


def _reason(error: Exception) -> str:
    """A failed connection in a few words, without the URL."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS with it; is it http:// there?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closes the connection without an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what it answers is no HTTP"
    number = getattr(error, "errno", None) or 0  # negative where a name is unknown
    text = os.strerror(number) if number > 0 else getattr(error, "strerror", None)
    return text or type(error).__name__
