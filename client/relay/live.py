"""The live page's WebSocket: the state once a second, and the newest frames as fast as the page draws them.

To the page: one text message `{"hello": {...}}`, then texts `{"state": {...}}`, and binary messages: a big-endian
uint32 n, n bytes of JSON `{"frames": [...]}`, then each frame's image file. From the page, as text: `{"watch":
[camera ids]}`, the cameras that it shows now, `{"retry": camera id}`, to ask a camera to try its source again, and
`{"drawn": 1}` for each binary message that it has drawn. Not more than MAX_UNDRAWN are under way, so a slow page
skips frames: the newest one wins, and nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import struct
from typing import Any

from aiohttp import WSMsgType, web

from client.colours import PALETTE
from client.relay.board import Board, Shown
from client.relay.config import RelayConfig

MAX_VIEWERS = 16
MAX_WATCHED = 64  # cameras that one page shows at once
MAX_UNDRAWN = 2  # one is drawn while the next one travels
MAX_BATCH_BYTES = 4 << 20  # of images in one message, but at least one image
FRAMES_PER_S = 15.0  # of each camera, at most
STATE_EVERY_S = 1.0
HEARTBEAT_S = 15.0  # a page that vanished is found by then
GOODBYE_S = 2.0  # for a page to answer that it is closed


class LivePages:
    """All pages that are open."""

    def __init__(self, config: RelayConfig, board: Board) -> None:
        self._config, self._board = config, board
        self._viewers: set[_Viewer] = set()
        self._closing = False
        self._state: tuple[float, str] = (-math.inf, "")

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One page, until it is closed."""
        if len(self._viewers) >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} live pages are open already")
        if self._closing:
            raise web.HTTPServiceUnavailable(text="the relay is shutting down")
        socket = web.WebSocketResponse(
            timeout=GOODBYE_S, heartbeat=HEARTBEAT_S, compress=False, max_msg_size=1 << 17
        )
        await socket.prepare(request)
        viewer = _Viewer(socket, self._board)
        self._viewers.add(viewer)
        pump = asyncio.ensure_future(self._pump(viewer))
        try:
            await viewer.listen()
        finally:
            self._viewers.discard(viewer)
            viewer.watch(())
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await pump
        return socket

    async def close(self) -> None:
        """Tell the pages that the relay stops; they try again by themselves."""
        self._closing = True
        goodbye = (viewer.socket.close(code=1001, message=b"the relay stops") for viewer in self._viewers)
        await asyncio.gather(*goodbye, return_exceptions=True)

    async def _pump(self, viewer: _Viewer) -> None:
        """Send what is new, and wait where the page is slow."""
        hello = {"model": self._config.model_name, "palette": [f"#{colour:06x}" for colour in PALETTE]}
        await viewer.socket.send_str(json.dumps({"hello": hello}))
        loop, state_s = asyncio.get_running_loop(), -math.inf
        while not viewer.socket.closed:
            now_s = loop.time()
            if now_s - state_s >= STATE_EVERY_S:
                state_s = now_s
                await viewer.socket.send_str(self._state_text(now_s))
            await viewer.send_fresh()
            await asyncio.sleep(max(0.0, now_s + 1 / FRAMES_PER_S - loop.time()))

    def _state_text(self, now_s: float) -> str:
        """The state as a message, made once for all pages."""
        made_s, text = self._state
        if now_s - made_s >= STATE_EVERY_S / 2:
            text = json.dumps({"state": self._board.summary()}, separators=(",", ":"))
            self._state = (now_s, text)
        return text


class _Viewer:
    """One page."""

    def __init__(self, socket: web.WebSocketResponse, board: Board) -> None:
        self.socket, self._board = socket, board
        self._seen: dict[str, int] = {}  # watched camera ids, with the serial of the frame that was sent last
        self._undrawn = 0

    async def listen(self) -> None:
        """Do what the page asks until it goes. A page that makes no sense is closed."""
        async for message in self.socket:
            if message.type is not WSMsgType.TEXT or not self._obey(message.data):
                await self.socket.close(code=1008, message=b"expected watch or drawn")

    def _obey(self, text: str) -> bool:
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            return False
        match asked:
            case {"watch": list(ids)} if len(ids) <= MAX_WATCHED and all(isinstance(one, str) for one in ids):
                self.watch(tuple(ids))
            case {"retry": str(camera_id)}:
                if (view := self._board.views.get(camera_id)) is not None:
                    view.retry()
            case {"drawn": 1}:
                self._undrawn = max(0, self._undrawn - 1)
            case _:
                return False
        return True

    def watch(self, camera_ids: tuple[str, ...]) -> None:
        """These cameras are shown now, and no others."""
        wanted = dict.fromkeys(camera_ids)
        for camera_id in self._seen.keys() - wanted.keys():
            self._board.watch(camera_id, -1)
        for camera_id in wanted.keys() - self._seen.keys():
            self._board.watch(camera_id, +1)
        self._seen = {camera_id: self._seen.get(camera_id, 0) for camera_id in wanted}

    async def send_fresh(self) -> None:
        """The newest frames of the watched cameras, if the page has drawn what it got."""
        if self._undrawn >= MAX_UNDRAWN:
            return
        fresh: list[Shown] = []
        size = 0
        for camera_id, serial in tuple(self._seen.items()):
            view = self._board.views.get(camera_id)
            if view is None or view.newest is None or view.newest.serial == serial:
                continue
            size += len(view.newest.image)
            if fresh and size > MAX_BATCH_BYTES:
                break
            fresh.append(view.newest)
            # To the end, so that each gets its turn where not all fit into one message.
            del self._seen[camera_id]
            self._seen[camera_id] = view.newest.serial
        if fresh:
            self._undrawn += 1
            await self.socket.send_bytes(batch(fresh))


def batch(frames: list[Shown]) -> bytes:
    """The binary message of some frames."""
    header = json.dumps({"frames": [_header(frame) for frame in frames]}, separators=(",", ":")).encode()
    return b"".join((struct.pack(">I", len(header)), header, *(frame.image for frame in frames)))


def _header(shown: Shown) -> dict[str, Any]:
    found = shown.result.delivered
    return {
        "camera": shown.result.camera_id,
        "frame": str(shown.result.frame_id),  # beyond 2**53 a browser's numbers are not exact
        "bytes": len(shown.image),
        "version": found.model_version,
        "boxes": [number(value) for value in found.boxes],
        "scores": [number(value) for value in found.scores],
        "class_ids": list(found.class_ids),
        "labels": list(found.labels),
    }


def number(value: float) -> float:
    """Within 0..1, as boxes and scores are by contract; JSON knows no NaN."""
    return round(min(max(value, 0.0), 1.0), 4) if value == value else 0.0
