"""What a client raises.

ClientError
├── SourceError          a source cannot be opened or read
├── SinkError            results cannot be written
└── TransportError       the other end cannot be used
    ├── Unreachable      nobody answers there
    ├── Refused          somebody answers, and does not take the stream
    └── WrongService     somebody answers, but does not speak the protocol

A single frame's failure is never raised: it is that frame's `Result`.
"""

from __future__ import annotations


class ClientError(Exception):
    """The base of everything that a client raises on purpose; its text is meant for the user, in one line."""


class SourceError(ClientError):
    """A source cannot be opened or read."""


class SinkError(ClientError):
    """Results cannot be written to a sink."""


class TransportError(ClientError):
    """The relay or the model server at `target` (host:port) cannot be used, for a `reason` in one line."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target, self.reason = target, reason


class Unreachable(TransportError):
    """Nobody answers at the target."""


class Refused(TransportError):
    """Whoever answers at the target does not take the stream, or what it proves itself with is not trusted."""


class WrongService(TransportError):
    """What answers at the target does not speak the protocol."""
