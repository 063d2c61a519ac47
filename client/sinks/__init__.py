"""Where results go: JSON Lines, annotated videos and images.

with JsonLines("results.jsonl") as sink:
    for result in stream:
        sink.write(result)
"""

from client.errors import SinkError
from client.sinks.base import QueuedSink, Sink
from client.sinks.images import AnnotatedImages
from client.sinks.jsonl import JsonLines
from client.sinks.video import AnnotatedVideo

__all__ = ["AnnotatedImages", "AnnotatedVideo", "JsonLines", "QueuedSink", "Sink", "SinkError"]
