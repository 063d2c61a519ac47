"""Webhook and MQTT, against real servers that refuse, stall, fail and come back."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from client.sinks import QueuedSink, SinkError, Webhook
from client.sinks import webhook as webhook_module
from client.sinks.mqtt import MAX_UNACKNOWLEDGED, Mqtt, parse_broker
from model.child import bound
from tests.client.certificates import self_signed
from tests.client.results import delivered, detections, dropped, frame

PERSON = ("person", 0, 0.9, (0.25, 0.5, 0.75, 1.0))
BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def wait_for(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- webhook ----------------------------------------------------------------------------------------------


class Receiver:
    """An HTTP server that answers each POST with the next of `answers` (then 200), as late as it is told to."""

    def __init__(self, *answers: int, delay_s: float = 0.0) -> None:
        self.answers, self.delay_s = list(answers), delay_s
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.headers.append(dict(self.headers))
                time.sleep(receiver.delay_s)
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 200:
                    receiver.bodies.append(json.loads(body))
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Set-Cookie", f"seen{len(receiver.headers)}=1")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "FIRST_PAUSE_S", 0.01)


def test_a_webhook_gets_each_delivered_result_over_one_connection() -> None:
    with Receiver() as receiver:
        queued = QueuedSink(Webhook(f"http://user:p%40ss@{receiver.host}/hook?key=secret"), 10)
        queued.write(delivered(frame(1), detections(PERSON)))
        queued.write(dropped(frame(2)))
        queued.write(delivered(frame(3)))
        queued.close()
        assert [body["frame_id"] for body in receiver.bodies] == [1, 3]
        assert receiver.bodies[0]["detections"][0]["label"] == "person"
        assert receiver.headers[0]["Content-Type"] == "application/json"
        assert receiver.headers[0]["Authorization"] == "Basic dXNlcjpwQHNz"
        assert "Cookie" not in receiver.headers[1]  # each one that is kept is kept for ever
        assert receiver.connections == 1
        assert queued.name == f"http://{receiver.host}"  # no password, path or query
    assert (queued.written, queued.dropped.total(), queued.error) == (2, 0, None)


def test_a_webhook_may_be_written_inside_a_running_event_loop() -> None:
    async def main(url: str) -> None:
        with Webhook(url) as sink:
            sink.write(delivered(frame(1)))
            sink.write(delivered(frame(2)))

    with Receiver() as receiver:
        asyncio.run(main(f"http://{receiver.host}/"))
        assert [body["frame_id"] for body in receiver.bodies] == [1, 2]
        assert receiver.connections == 1


def test_a_webhook_tries_again_where_that_may_help() -> None:
    with Receiver(503, 429, 500) as receiver:
        queued = QueuedSink(Webhook(f"http://{receiver.host}/"), 10)
        queued.write(delivered(frame(1)))
        queued.close()
        assert len(receiver.bodies) == 1
    assert (queued.written, queued.dropped.total(), queued.problem) == (1, 0, None)


@pytest.mark.parametrize("status", [302, 400, 404])
def test_a_webhook_that_refuses_loses_that_result_only(status: int) -> None:
    with Receiver(status) as receiver:
        queued = QueuedSink(Webhook(f"http://{receiver.host}/"), 10)
        for number in (1, 2):
            queued.write(delivered(frame(number)))
        queued.close()
        assert [body["frame_id"] for body in receiver.bodies] == [2]
    assert (queued.written, queued.dropped) == (1, {"undelivered": 1})
    assert (queued.error, queued.problem) == (None, f"it answers {status}")


def test_a_webhook_that_is_not_there_is_named_without_its_secrets() -> None:
    queued = QueuedSink(Webhook(f"http://user:hunter2@127.0.0.1:{free_port()}/secret"), 10)
    queued.write(delivered(frame(1)))
    queued.close()
    assert queued.dropped == {"undelivered": 1}
    assert queued.error is not None
    assert "nothing was delivered: " in queued.error
    assert "refused" in queued.error
    assert "secret" not in queued.error
    assert "hunter2" not in queued.error


def test_a_slow_webhook_stalls_nobody() -> None:
    with Receiver(delay_s=0.05) as receiver:
        queued = QueuedSink(Webhook(f"http://{receiver.host}/"), 2)
        started = time.monotonic()
        for number in range(50):
            queued.write(delivered(frame(number)))
        assert time.monotonic() - started < 0.5
        queued.close()
    assert queued.written + queued.dropped["queue_full"] == 50
    assert queued.dropped["queue_full"] > 40


def test_a_webhook_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queued = QueuedSink(Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/"), 2)
        queued.write(delivered(frame(1)))
        queued.close()
    assert queued.dropped == {"undelivered": 1}
    assert queued.problem == "no answer in time"


@pytest.mark.parametrize(
    ("scheme", "says", "problem"),
    [
        ("http", b"", "it closes the connection without an answer"),
        ("http", b"hello\r\n\r\n", "what it answers is no HTTP"),
        ("https", b"hello\r\n\r\n", "no TLS with it; is it http:// there?"),
    ],
)
def test_what_is_no_webhook_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, scheme: str, says: bytes, problem: str
) -> None:
    monkeypatch.setattr(webhook_module, "ATTEMPTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        queued = QueuedSink(Webhook(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"), 2)
        queued.write(delivered(frame(1)))
        other, _ = server.accept()
        with other:
            other.recv(65536)
            other.sendall(says)
        queued.close()
    assert queued.problem == problem


@pytest.mark.parametrize(
    "url", ["", "ftp://host/", "http://", "http://host:port/", "http://[::1/", "host/x", "http://a..b/secret"]
)
def test_a_webhook_needs_a_url(url: str) -> None:
    with pytest.raises(SinkError, match=r"^webhook: expected http\(s\)://host\[:port\]/path$"):
        Webhook(url)


# --- MQTT -------------------------------------------------------------------------------------------------


class Mosquitto:
    """A broker process on a port of its own; `settings` are lines of its configuration."""

    def __init__(self, folder: Path, *settings: str, port: int = 0) -> None:
        assert BROKER is not None
        self.port = port or free_port()
        # As root it would become user mosquitto, who may not read our folder.
        lines = ["user root", f"listener {self.port} 127.0.0.1", *(settings or ("allow_anonymous true",))]
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen(
            bound([BROKER, "-c", str(config)]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(self._listens)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.stop()


class Subscriber:
    """What a broker hands on: (topic, object) pairs."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        subscribed = threading.Event()
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _c, _d, m: self.messages.append((m.topic, json.loads(m.payload)))
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.subscribe("#", qos=1)
        assert subscribed.wait(10)

    def ids(self) -> list[int]:
        return [message["frame_id"] for _, message in self.messages]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class SlowBroker:
    """A broker's first words, told by the test: the identity of each message of a connection, in its order."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(10)
        self.port = int(self._server.getsockname()[1])

    def meet(self) -> None:
        """Take the next connection, up to its CONNECT."""
        self._socket, _ = self._server.accept()
        self._socket.settimeout(10)
        self._file = self._socket.makefile("rb")
        assert self._packet()[0] >> 4 == 1

    def accept(self) -> None:
        """CONNACK."""
        self._socket.sendall(b"\x20\x02\x00\x00")

    def ids(self, count: int, *, acknowledge: bool = True) -> list[int]:
        """Frame ids of the next `count` messages."""
        ids: list[int] = []
        while len(ids) < count:
            kind, body = self._packet()
            assert kind >> 4 == 3, "no PUBLISH"
            start = 2 + int.from_bytes(body[:2], "big")
            ids.append(json.loads(body[start + 2 :])["frame_id"])
            if acknowledge:
                self._socket.sendall(b"\x40\x02" + body[start : start + 2])
        return ids

    def hang_up(self) -> None:
        self._file.close()
        self._socket.close()

    def _packet(self) -> tuple[int, bytes]:
        kind, length = self._file.read(1)[0], 0
        for shift in range(0, 28, 7):
            byte = self._file.read(1)[0]
            length |= (byte & 127) << shift
            if byte < 128:
                break
        return kind, self._file.read(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._server.close()


needs_broker = pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@needs_broker
def test_mqtt_publishes_each_delivered_result(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber:
        queued = QueuedSink(Mqtt(f"mqtt://127.0.0.1:{broker.port}/yard/cams"), 200)
        queued.write(delivered(frame(1, "door"), detections(PERSON)))
        queued.write(dropped(frame(2, "door")))
        for number in range(3, 103):
            queued.write(delivered(frame(number, "a/b+c#")))
        queued.close()
        wait_for(lambda: len(subscriber.messages) == 101)
    topic, message = subscriber.messages[0]
    assert (topic, message["frame_id"]) == ("yard/cams/door", 1)
    assert message["detections"][0]["label"] == "person"
    assert {topic for topic, _ in subscriber.messages[1:]} == {"yard/cams/a_b_c_"}
    assert subscriber.ids() == [1, *range(3, 103)]
    assert (queued.written, queued.dropped.total(), queued.error) == (101, 0, None)


def test_mqtt_keeps_the_order_through_handshakes() -> None:
    """What is written before, during and after a handshake, and what the last connection left unacknowledged."""
    with SlowBroker() as broker:
        sink = Mqtt(f"mqtt://127.0.0.1:{broker.port}")
        for number in (1, 2):
            sink.write(delivered(frame(number, "a\udcffb")))
        broker.meet()
        sink.write(delivered(frame(3)))
        broker.accept()
        assert broker.ids(3, acknowledge=False) == [1, 2, 3]
        broker.hang_up()
        broker.meet()
        for number in range(4, 40):  # more than may be in flight
            sink.write(delivered(frame(number)))
        broker.accept()
        assert broker.ids(39) == list(range(1, 40))
        sink.write(delivered(frame(40)))
        assert broker.ids(1) == [40]
        wait_for(lambda: sink.unacknowledged == 0)
        sink.close()
        broker.hang_up()


@needs_broker
def test_mqtt_outlives_its_broker(tmp_path: Path) -> None:
    """What is written while the broker is away is acknowledged once it is back, and later messages go on."""
    with Mosquitto(tmp_path) as first:
        sink = Mqtt(f"mqtt://127.0.0.1:{first.port}")
        queued = QueuedSink(sink, 100)
        queued.write(delivered(frame(1)))
        wait_for(lambda: queued.written == 1 and sink.unacknowledged == 0)
    for number in range(2, 12):
        queued.write(delivered(frame(number)))
    wait_for(lambda: queued.written == 11)
    assert sink.unacknowledged == 10
    with Mosquitto(tmp_path, port=first.port) as second, Subscriber(second.port) as subscriber:
        wait_for(lambda: sink.unacknowledged == 0)
        queued.write(delivered(frame(12)))
        wait_for(lambda: 12 in subscriber.ids())
        queued.close()
    assert (queued.written, queued.dropped.total()) == (12, 0)


@needs_broker
def test_mqtt_tells_a_wrong_password(tmp_path: Path) -> None:
    for password, error in (("right", ""), ("wrong", "Not authorized")):
        users = tmp_path / "users"
        users.unlink(missing_ok=True)
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(users), "cam", "right"], check=True)
        with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as broker:
            queued = QueuedSink(Mqtt(f"mqtt://cam:{password}@127.0.0.1:{broker.port}"), 10)
            queued.write(delivered(frame(1)))
            queued.close()
        if error:
            assert queued.dropped == {"undelivered": 1}
            assert error in (queued.error or "")
            assert "wrong" not in (queued.error or "")
        else:
            assert (queued.written, queued.error) == (1, None)


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@needs_broker
def test_mqtt_over_tls_checks_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    settings = (f"certfile {certificate}", f"keyfile {tmp_path / 'key.pem'}", "allow_anonymous true")
    with Mosquitto(tmp_path, *settings) as broker:
        url = f"mqtts://localhost:{broker.port}"
        stranger = QueuedSink(Mqtt(url), 10)
        stranger.write(delivered(frame(1)))
        stranger.close()
        assert stranger.dropped == {"undelivered": 1}
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        queued = QueuedSink(Mqtt(url), 10)
        queued.write(delivered(frame(1)))
        queued.close()
    assert (queued.written, queued.error) == (1, None)


def test_mqtt_keeps_a_bounded_number_of_messages_for_a_broker_that_is_away() -> None:
    sink = Mqtt(f"mqtt://127.0.0.1:{free_port()}")
    queued = QueuedSink(sink, MAX_UNACKNOWLEDGED + 200)
    for number in range(MAX_UNACKNOWLEDGED + 100):
        queued.write(delivered(frame(number)))
    wait_for(lambda: queued.written + queued.dropped.total() == MAX_UNACKNOWLEDGED + 100)
    assert queued.dropped == {"undelivered": 100}
    queued.close()
    assert (queued.written, queued.dropped) == (0, {"undelivered": MAX_UNACKNOWLEDGED + 100})
    assert "the broker cannot be reached" in (queued.error or "")


def test_a_broker_url() -> None:
    broker = parse_broker("mqtts://cam:p%40s@broker.example/a/b/")
    assert (broker.host, broker.port, broker.topic, broker.tls) == ("broker.example", 8883, "a/b", True)
    assert (broker.username, broker.password) == ("cam", "p@s")
    assert broker.shown == "mqtts://***@broker.example/a/b/"
    assert parse_broker("mqtt://[::1]").host == "::1"
    assert parse_broker("mqtt://h").topic == "sightline"
    for url in (
        "",
        "host",
        "http://h",
        "mqtt://",
        "mqtt://u:hunter2@h:port",
        "mqtt://u:hunter2@h/a/+/b",
        "mqtt://u:hunter2@h/a/#",
        "mqtt://u:hunter2@h/a?b",
        "mqtt://u:hunter2@a..b",
    ):
        with pytest.raises(SinkError, match="expected mqtt://") as caught:
            parse_broker(url)
        assert "hunter2" not in str(caught.value)
