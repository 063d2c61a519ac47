"""A camera whose frames are counted: what the demonstration and the tests look at while versions change."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Self

from client.relayed import RelayTransport
from client.security import Security
from client.stream import DetectionStream
from client.stream_config import StreamConfig
from client.types import Account, Source, Status


class CountedCamera:
    """One stream, from entering to leaving. `versions`: delivered frames by model version."""

    def __init__(self, source: Source, address: str, security: Security, max_age_s: float = 0.2) -> None:
        self.camera_id = source.camera_id
        transport = RelayTransport(address, security=security, camera_id=source.camera_id)
        self._stream = DetectionStream(source, transport, StreamConfig(max_age_s=max_age_s))
        self.versions: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._count, name=f"count {source.camera_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.stop()
        self._thread.join()
        self._stream.close()

    @property
    def account(self) -> Account:
        """What became of the frames so far."""
        return self._stream.account

    @property
    def reconnects(self) -> int:
        """Streams that had to be opened again."""
        return self._stream.reconnects

    def _count(self) -> None:
        for result in self._stream:
            if result.status is Status.DELIVERED:
                self.versions[result.model_version] += 1
            elif result.status is Status.ERRORED:
                self.errors[result.error or ""] += 1
