"""Frame conservation, asserted of every stream that a test makes in its process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.stream import DetectionStream


@pytest.fixture(autouse=True)
def streams_add_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """At a test's end each DetectionStream is closed, and each frame that it captured has its fate."""
    streams: list[DetectionStream] = []
    begin = DetectionStream.__init__

    def record(self: DetectionStream, *arguments: object, **options: object) -> None:
        begin(self, *arguments, **options)  # type: ignore[arg-type]
        streams.append(self)

    monkeypatch.setattr(DetectionStream, "__init__", record)
    yield
    for stream in streams:
        stream.close()
        account = stream.account
        assert account.balanced, account
        assert 0 <= account.late <= account.delivered
