"""Sightline's streaming client: frames of a camera in, detections out, every frame accounted for.

from client import DetectionStream, open_source
with DetectionStream(open_source("clip.mp4"), "127.0.0.1:8600") as stream:
    for result in stream:
        print(result.frame.frame_id, result.status, result.age_s)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from client.errors import (
    ClientError,
    Refused,
    SinkError,
    SourceError,
    TransportError,
    Unreachable,
    WrongService,
)

if TYPE_CHECKING:
    from client.direct import DirectTransport
    from client.relayed import RelayTransport
    from client.sinks import AnnotatedImages, AnnotatedVideo, JsonLines
    from client.sources import SourceOptions, open_source
    from client.stream import DetectionStream
    from client.stream_config import StreamConfig
    from client.types import Account, Detections, DropReason, Frame, Result, Source, Status

# gRPC's pollers of before 1.80, for which the thread that waits for an answer reads the socket itself. With the new
# ones a frame goes through three threads more: docs/performance.md. gRPC reads this when it is imported.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

# Loaded at first use: numpy and gRPC would make `import client` slow.
_LAZY = {
    "client.types": ("Account", "Detections", "DropReason", "Frame", "Result", "Source", "Status"),
    "client.stream": ("DetectionStream",),
    "client.stream_config": ("StreamConfig",),
    "client.relayed": ("RelayTransport",),
    "client.direct": ("DirectTransport",),
    "client.sources": ("SourceOptions", "open_source"),
    "client.sinks": ("AnnotatedImages", "AnnotatedVideo", "JsonLines"),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "Account",
    "AnnotatedImages",
    "AnnotatedVideo",
    "ClientError",
    "DetectionStream",
    "Detections",
    "DirectTransport",
    "DropReason",
    "Frame",
    "JsonLines",
    "Refused",
    "RelayTransport",
    "Result",
    "SinkError",
    "Source",
    "SourceError",
    "SourceOptions",
    "Status",
    "StreamConfig",
    "TransportError",
    "Unreachable",
    "WrongService",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
