"""Where results go: JSON Lines, annotated videos and images, a table, a webhook, MQTT.

with JsonLines("results.jsonl") as sink:
    for result in stream:
        sink.write(result)
"""

from client.errors import SinkError
from client.sinks.base import Lost, QueuedSink, Sink, close_all
from client.sinks.images import AnnotatedImages
from client.sinks.jsonl import JsonLines
from client.sinks.table import Table
from client.sinks.video import AnnotatedVideo
from client.sinks.webhook import Webhook

# client.sinks.mqtt needs the extra `mqtt`: import Mqtt from there.
__all__ = [
    "AnnotatedImages", "AnnotatedVideo", "JsonLines", "Lost", "QueuedSink", "Sink", "SinkError", "Table",
    "Webhook", "close_all",
]  # fmt: skip
