"""The transport straight to a model server: how a connection ends."""

from __future__ import annotations

import threading

import pytest

from client.direct import DirectTransport
from client.transport import Answer
from tests.client.fakes import FakeModelServer


class Listening:
    """Knows when there is a connection."""

    def __init__(self) -> None:
        self.connected = threading.Event()

    def ready(self) -> None:
        self.connected.set()

    def answered(self, seq: int, answer: Answer) -> None:
        """Nothing is sent."""

    def retry(self) -> None:
        """Nobody asks."""

    def closing(self) -> None:
        """Nobody says so."""

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        """It ends."""


def test_grpcs_watcher_has_ended_when_its_channel_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it may find the channel closed, and print a traceback."""
    with FakeModelServer() as server:
        listening = Listening()
        connection = DirectTransport(server.target).open(listening)
        assert listening.connected.wait(10)
        channel, polling = connection._channel, []
        close = channel.close

        def closed() -> None:
            polling.append(channel._connectivity_state.polling)
            close()

        monkeypatch.setattr(channel, "close", closed)
        connection.close()
    assert polling == [False]
