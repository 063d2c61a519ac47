"""Sightline's streaming client: frames of a camera in, detections out, every frame accounted for.

from client import DetectionStream
with DetectionStream(source, "127.0.0.1:8600") as stream:
    for result in stream:
        print(result.frame.frame_id, result.status, result.age_s)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from client.errors import ClientError, SourceError, TransportError, Unreachable, WrongService

if TYPE_CHECKING:
    from client.direct import DirectTransport
    from client.relayed import RelayTransport
    from client.stream import DetectionStream
    from client.stream_config import StreamConfig
    from client.types import Account, Detections, DropReason, Frame, Result, Source, Status

# Loaded at first use: numpy and gRPC would make `import client` slow.
_LAZY = {
    "client.types": ("Account", "Detections", "DropReason", "Frame", "Result", "Source", "Status"),
    "client.stream": ("DetectionStream",),
    "client.stream_config": ("StreamConfig",),
    "client.relayed": ("RelayTransport",),
    "client.direct": ("DirectTransport",),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "Account",
    "ClientError",
    "DetectionStream",
    "Detections",
    "DirectTransport",
    "DropReason",
    "Frame",
    "RelayTransport",
    "Result",
    "Source",
    "SourceError",
    "Status",
    "StreamConfig",
    "TransportError",
    "Unreachable",
    "WrongService",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
