"""A detection stream's results for asyncio programs."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from client.stream_state import StreamState
from client.types import Result


async def take(state: StreamState) -> Result | None:
    """The next result, once it is there; None at the end. Who is cancelled meanwhile has taken none.

    Raises:
        what ended the stream, once.
    """
    loop, fresh = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(fresh.set)

    with state.cond:
        state.wakes.add(wake)
    try:
        while True:
            fresh.clear()
            with state.cond:
                if state.readable:
                    return state.take()
            await fresh.wait()
    finally:
        with state.cond:
            state.wakes.discard(wake)


class AsyncStream(Protocol):
    """What has results."""

    async def __anext__(self) -> Result:
        """The next one."""

    def stop(self) -> None:
        """Take no more."""


class AsyncResults:
    """What one `async for` over a stream goes through. The stream stops when it is let go, as a loop that is left does:
    nobody else may be there to stop it."""

    def __init__(self, stream: AsyncStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        return await self._stream.__anext__()

    async def aclose(self) -> None:
        """Stop the stream."""
        self._stream.stop()

    def __del__(self) -> None:
        self._stream.stop()
