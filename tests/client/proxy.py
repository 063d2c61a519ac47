"""A TCP proxy that is a bad network: slow, black-holed, cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

CHUNK = 4096  # bytes; small, so that little is on its way


class Proxy:
    """Forwards `target` (host:port) from a port of its own. What it does may be changed while it runs.

    `upload_bytes_s`: what all connections together may send to the target; None: any.
    """

    def __init__(self, target: str, *, upload_bytes_s: float | None = None) -> None:
        host, _, port = target.rpartition(":")
        self._address = host, int(port)
        self.upload_bytes_s = upload_bytes_s
        self.port = 0
        self.connections = 0  # so far
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Lock  # the line's, for those who upload

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def black_hole(self, on: bool = True) -> None:
        """Nothing is forwarded any more, and nobody is told; or it is again."""
        self._loop.call_soon_threadsafe(self._flowing.clear if on else self._flowing.set)

    def cut(self) -> None:
        """All connections are reset."""

        def cancel() -> None:
            for task in self._tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(cancel)

    def __enter__(self) -> Self:
        started = threading.Event()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._turn, self._flowing = asyncio.Lock(), asyncio.Event()
            self._flowing.set()
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * CHUNK)
            self.port = listener.getsockname()[1]
            server = await asyncio.start_server(self._accept, sock=listener, limit=CHUNK)
            started.set()
            await self._stop.wait()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # aborted transports close in the loop's next rounds

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self._thread.start()
        assert started.wait(5)
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            from_there, there = await asyncio.open_connection(*self._address, limit=CHUNK)
            ways = (self._copy(reader, there, upload=True), self._copy(from_there, writer, upload=False))
            copies = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for copy in copies:
                    copy.cancel()
        except OSError:
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upload: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if upload and self.upload_bytes_s:
                    async with self._turn:
                        await asyncio.sleep(len(data) / self.upload_bytes_s)
                writer.write(data)
                await writer.drain()
