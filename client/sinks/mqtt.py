"""MQTT: each delivered result as JSON on the topic of its camera. Needs the extra `mqtt`."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from client.errors import SinkError
from client.sinks.base import Lost, Sink
from client.sinks.jsonl import as_dict, to_json
from client.sources.names import redact
from client.types import Result, Status

MAX_UNACKNOWLEDGED = 1000  # messages of some KB each that are kept while the broker is away
FLUSH_S = 5.0  # for the broker to acknowledge the last messages
_USAGE = "expected mqtt://[user:password@]host[:port][/topic], mqtts:// for TLS"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where messages go: the parts of an `mqtt://` URL. `shown` is without its password."""

    host: str
    port: int
    topic: str
    username: str | None
    password: str | None
    tls: bool
    shown: str


def parse_broker(url: str) -> Broker:
    """The parts of `mqtt://[user:password@]host[:port][/topic]`; user and password may be percent-encoded.

    Raises:
        SinkError: it is none, without its password.
    """
    shown = redact(url)
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # paho's thread would die of one that cannot be
    except ValueError:
        raise SinkError(f"{_USAGE}, got {shown}") from None
    tls = parts.scheme == "mqtts"
    topic = unquote(parts.path).strip("/") or "sightline"
    odd = "#" in url or "?" in url or re.search(r"[+#\0]", topic)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or odd:
        raise SinkError(f"{_USAGE}, got {shown}")
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return Broker(parts.hostname, port or (8883 if tls else 1883), topic, user, password, tls, shown)


class Mqtt(Sink[tuple[str, bytes]]):
    """Publishes delivered results to `<topic>/<camera>` with QoS 1, as the objects of client.sinks.jsonl.

    The broker may be away at any time, at the start too: then up to 1000 messages wait for it, and later ones are
    lost. They come in their order; where a connection broke, those without an acknowledgement come again first.
    A letter of a camera's name that a topic may not hold (`+ # /`) becomes `_`. `mqtts://` checks the broker's
    certificate against the authorities that the system trusts (or those of SSL_CERT_FILE).

    Raises:
        SinkError: `url` is no broker's; see `parse_broker`.
    """

    def __init__(self, url: str) -> None:
        self._broker = broker = parse_broker(url)
        self._handed = self._acknowledged = 0  # messages; one thread counts each
        # paho sends what it is given during its handshake at once, and only then what it was given before that or
        # was not acknowledged. So messages wait here, in their order, until the broker has accepted the connection.
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._accepted = False
        self._order = threading.Lock()  # of `_waiting`, `_accepted` and what is published
        self._trouble = "no answer from the broker"
        self._refused = False  # the last attempt to connect failed
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.on_pre_connect = self._connecting
        client.on_connect, client.on_connect_fail = self._connected, self._not_connected
        client.on_publish = self._published
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            client.tls_set_context(ssl.create_default_context())
        client.connect_async(broker.host, broker.port, keepalive=30)
        client.loop_start()

    @property
    def name(self) -> str:
        return self._broker.shown

    def prepare(self, result: Result) -> tuple[str, bytes] | None:
        """Topic and message of a delivered result."""
        if result.status is not Status.DELIVERED:
            return None
        camera = re.sub(r"[+#/\0\ud800-\udfff]", "_", result.frame.camera_id)
        text = to_json(as_dict(result))
        return f"{self._broker.topic}/{camera}", text

    def put(self, item: tuple[str, bytes]) -> None:
        """Hand a message to the client, which sends it again until the broker has it."""
        if self.unacknowledged >= MAX_UNACKNOWLEDGED:
            raise Lost(self._trouble)
        self._handed += 1
        with self._order:
            self._waiting.append(item)
            if self._accepted:
                self._publish()

    def close(self) -> None:
        """Wait a moment for the broker's last acknowledgements.

        Raises:
            Lost: some did not come.
        """
        end_s = time.monotonic() + FLUSH_S
        while self.unacknowledged and time.monotonic() < end_s and not self._refused:
            time.sleep(0.01)
        self._client.disconnect()
        self._client.loop_stop()
        left, self._handed = self.unacknowledged, self._acknowledged
        if left:
            raise Lost(self._trouble, left)

    @property
    def unacknowledged(self) -> int:
        """Messages that the broker does not have yet."""
        return self._handed - self._acknowledged

    def _publish(self) -> None:
        while self._waiting:
            topic, message = self._waiting.popleft()
            self._client.publish(topic, message, qos=1)

    def _published(self, *_: object) -> None:
        self._acknowledged += 1

    def _connecting(self, _client: paho.Client, _data: object) -> None:
        with self._order:
            self._accepted = False

    def _connected(
        self, _client: paho.Client, _data: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        self._refused = code.is_failure
        self._trouble = f"the broker says {code}" if code.is_failure else "the broker is too slow"
        if code.is_failure:
            return
        with self._order:
            unacknowledged = self._client.drop_out_messages()  # paho would send them again last
            for message in reversed(unacknowledged):
                self._waiting.appendleft((message.topic, bytes(message.payload)))
            self._publish()
            self._accepted = True

    def _not_connected(self, _client: paho.Client, _data: object) -> None:
        self._refused, self._trouble = True, "the broker cannot be reached"
