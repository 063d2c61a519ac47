"""The relay's HTTP side without a browser: pictures by POST, who may ask, and what a slow page costs."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import aiohttp
import cv2
import grpc
import numpy as np
import pytest

from client.relay import RelayConfig, live, photo
from client.relay.photo import MAX_REQUESTS
from client.stream import DetectionStream, StreamConfig
from tests.client import media
from tests.client.fakes import FakeModelServer, NumberSource, RelayThread, response_of

MAX_BYTES = 200_000


def jpeg(size_wh: tuple[int, int] = (64, 48), orientation: int = 1) -> bytes:
    """A grey JPEG file, with an Exif block where it is to be turned."""
    return media.jpeg(np.full((size_wh[1], size_wh[0], 3), 128, np.uint8), orientation)


def png(size_wh: tuple[int, int]) -> bytes:
    """A black PNG file."""
    return bytes(cv2.imencode(".png", np.zeros((size_wh[1], size_wh[0], 3), np.uint8))[1].tobytes())


def test_what_is_no_http_leaves_no_traceback(relay: RelayThread, caplog: pytest.LogCaptureFixture) -> None:
    """A camera that takes this for the port of streams tries again and again."""
    for words in (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(40),
        b"\x16\x03\x01 no words\r\n\r\n",
        b"GET / X\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", int(base(relay).rpartition(":")[2]))) as connection:
            connection.sendall(words)
            assert connection.recv(100).startswith(b"HTTP/1.")
    assert ask(f"{base(relay)}/metrics")[0] == 200
    assert not [record for record in caplog.records if record.exc_info]


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(respond=lambda _: response_of(3)) as fake:
        yield fake


@pytest.fixture
def relay(server: FakeModelServer) -> Iterator[RelayThread]:
    with RelayThread(server.target, http_port=0, max_image_bytes=MAX_BYTES) as running:
        yield running
    running.assert_balanced()


def base(relay: RelayThread) -> str:
    return f"http://127.0.0.1:{relay.relay.http_port}"


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET, or of a POST of `body`."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def error_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    assert answer[1]["Content-Type"].startswith("application/json")
    return answer[0], json.loads(answer[2])["error"]


def test_a_picture_is_answered_with_json(relay: RelayThread) -> None:
    status, headers, body = ask(f"{base(relay)}/v1/detect", jpeg((64, 48)))
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    answer = json.loads(body)
    assert {key: answer[key] for key in ("model", "version", "width", "height")} == {
        "model": "yolov8", "version": 1, "width": 64, "height": 48,
    }  # fmt: skip
    assert len(answer["detections"]) == 3
    second = answer["detections"][1]  # ymin, xmin, ymax, xmax were 0.1, 0.2, 0.2, 0.4
    assert second["box_normalized"] == pytest.approx([0.2, 0.1, 0.4, 0.2])
    assert second["box"] == pytest.approx([12.8, 4.8, 25.6, 9.6])
    assert (second["label"], second["class_id"], second["score"]) == ("thing", 3, 0.8)
    assert answer["ms"]["total"] >= answer["ms"]["predict"] > 0


def test_a_picture_comes_back_annotated(relay: RelayThread) -> None:
    status, headers, body = ask(f"{base(relay)}/v1/detect?annotated=1", jpeg((640, 480)))
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    assert np.abs(picture.astype(int) - 128).max() > 60  # something was drawn


def test_a_phone_picture_is_turned_before_it_is_looked_at(relay: RelayThread) -> None:
    answer = json.loads(ask(f"{base(relay)}/v1/detect", jpeg((64, 48), orientation=6))[2])
    assert (answer["width"], answer["height"]) == (48, 64)
    assert len(answer["detections"]) == 3


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", b"", 400, "got nothing: curl --data-binary"),
        ("", b"hello", 415, "expected a JPEG or PNG file"),
        ("", b"\xff\xd8\xff", 400, "its header tells no size"),
        ("", jpeg()[:100], 400, "its header tells no size"),
        ("", b"\xff\xd8\xff" + b"x" * MAX_BYTES, 413, "exceeded"),
        ("", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff", 413, "65535x65535 pixels"),
        (
            "?annotated=1",
            png((70_000, 10)),
            413,
            "70000x10 pixels; the limit with annotated=1 is 65500 a side",
        ),
        ("?conf=0.5", jpeg(), 400, "unknown parameter 'conf'"),
        ("?annotated=yes", jpeg(), 400, "annotated: expected 0 or 1"),
        ("?timeout_s=nan", jpeg(), 400, "timeout_s: expected more than 0"),
        ("?timeout_s=1e9", jpeg(), 400, "timeout_s: expected more than 0"),
    ],
)
def test_what_is_wrong_is_said(
    relay: RelayThread, query: str, body: bytes, status: int, message: str
) -> None:
    got = error_of(ask(f"{base(relay)}/v1/detect{query}", body))
    assert got[0] == status
    assert message in got[1]


def test_a_body_that_is_not_what_its_header_says(
    relay: RelayThread, caplog: pytest.LogCaptureFixture
) -> None:
    got = error_of(ask(f"{base(relay)}/v1/detect", jpeg(), **{"Content-Encoding": "gzip"}))
    assert got == (400, "the body is broken: it is not what its headers say, such as gzip")
    assert ask(f"{base(relay)}/metrics")[0] == 200
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(("quality", "status"), [(85, 200), (20, 413)])
def test_a_phone_picture_that_grows_when_it_is_turned(
    server: FakeModelServer, quality: int, status: int
) -> None:
    """Grain, of which the best quality makes more bytes than the camera's did."""
    grain = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    picture = media.jpeg(grain, 6, quality=quality)
    with RelayThread(server.target, http_port=0, max_image_bytes=len(picture)) as relay:
        answer = ask(f"{base(relay)}/v1/detect", picture)
    assert answer[0] == status, answer[2]
    assert status == 200 or "turned as its Exif says, the picture has" in error_of(answer)[1]


def test_a_bug_is_answered_as_json_that_tells_nothing_of_it(
    relay: RelayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise KeyError("secret")

    monkeypatch.setattr(photo, "_annotated", broken)
    got = error_of(ask(f"{base(relay)}/v1/detect?annotated=1", jpeg()))
    assert got == (500, "internal error; the relay's log says more")


def test_a_body_of_unknown_length_meets_the_limit(relay: RelayThread) -> None:
    async def post() -> int:
        async def chunks() -> Any:
            for _ in range(40):
                yield b"\xff\xd8\xff" + b"x" * 10_000

        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{base(relay)}/v1/detect", data=chunks()) as answer,
        ):
            return answer.status

    assert asyncio.run(post()) == 413


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 502),
    ],
)
def test_the_model_servers_errors(
    server: FakeModelServer, relay: RelayThread, code: grpc.StatusCode, status: int
) -> None:
    server.error = (code, "no such luck\n\t [[{{node Assert}}]]")
    assert error_of(ask(f"{base(relay)}/v1/detect", jpeg())) == (status, "no such luck")


def test_a_deadline(server: FakeModelServer, relay: RelayThread) -> None:
    server.latency_s = 1.0
    started_s = time.monotonic()
    status, message = error_of(ask(f"{base(relay)}/v1/detect?timeout_s=0.2", jpeg()))
    assert (status, message) == (504, "no answer within 0.2 s (timeout_s)")
    assert time.monotonic() - started_s < 0.9


def test_more_pictures_than_fit_are_refused_and_cameras_keep_their_share(server: FakeModelServer) -> None:
    server.latency_s, server.threads = 0.05, 2
    with RelayThread(server.target, http_port=0, in_flight=2) as relay:
        url = f"{base(relay)}/v1/detect"
        source = NumberSource(None, live=True, interval_s=0.01, image=lambda _: jpeg())
        with DetectionStream(source, relay.target, StreamConfig(max_age_s=2.0)) as stream:
            taker = threading.Thread(target=lambda: list(stream))
            taker.start()
            time.sleep(0.5)
            before = stream.account.delivered
            with ThreadPoolExecutor(2 * MAX_REQUESTS) as pool:
                answers = list(pool.map(lambda _: ask(url, jpeg())[0], range(4 * MAX_REQUESTS)))
            delivered = stream.account.delivered - before
            stream.stop()
            taker.join()
        relay.wait_idle()
    relay.assert_balanced()
    assert set(answers) == {200, 429}
    assert answers.count(200) >= MAX_REQUESTS
    # Though 16 pictures wait all the time.
    assert delivered > 0.3 * (delivered + answers.count(200))


def test_a_shutdown_answers_what_is_in_flight(server: FakeModelServer) -> None:
    server.latency_s = 0.5
    relay = RelayThread(server.target, http_port=0).start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, f"{base(relay)}/v1/detect", jpeg())
        time.sleep(0.2)
        relay.stop()
        assert answer.result()[0] == 200
    relay.assert_balanced()


def test_a_picture_that_comes_when_the_relay_drains_is_refused_at_once(server: FakeModelServer) -> None:
    server.latency_s = 1.0
    relay = RelayThread(server.target, http_port=0).start()
    with (
        ThreadPoolExecutor(2) as pool,
        socket.create_connection(("127.0.0.1", relay.relay.http_port or 0), timeout=5) as late,
    ):
        early = pool.submit(ask, f"{base(relay)}/v1/detect", jpeg())
        body = jpeg()
        head = "POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
        late.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body[:100])
        time.sleep(0.3)
        stopping = pool.submit(relay.stop)
        time.sleep(0.2)
        began_s = time.monotonic()
        late.sendall(body[100:])
        answer = late.makefile("rb").read()
        assert time.monotonic() - began_s < 0.4
        assert answer.startswith(b"HTTP/1.1 503")
        assert answer.endswith(b'{"error": "the relay is shutting down"}')
        assert error_of(ask(f"{base(relay)}/v1/detect", jpeg()))[0] == 503
        assert ask(f"{base(relay)}/metrics")[0] == 200  # until the last one is answered
        assert early.result()[0] == 200
        stopping.result()
    relay.assert_balanced()


def test_a_picture_that_gets_no_answer_holds_a_shutdown_no_longer_than_the_grace(
    server: FakeModelServer,
) -> None:
    server.latency_s = 2.0
    relay = RelayThread(server.target, http_port=0, grace_s=0.3).start()
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(ask, f"{base(relay)}/v1/detect", jpeg())
        time.sleep(0.3)
        began_s = time.monotonic()
        relay.stop()
        assert time.monotonic() - began_s < 1.2
        assert error_of(stuck.result()) == (503, "the relay is shutting down")
    relay.assert_balanced()


def test_pages_that_do_not_say_good_bye_hold_a_shutdown_for_a_moment(
    server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "GOODBYE_S", 0.3)
    relay = RelayThread(server.target, http_port=0).start()
    with ExitStack() as stack:
        for _ in range(4):
            page = stack.enter_context(socket.create_connection(("127.0.0.1", relay.relay.http_port or 0)))
            page.sendall(
                b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert page.recv(100).startswith(b"HTTP/1.1 101")
        began_s = time.monotonic()
        relay.stop()
        assert time.monotonic() - began_s < 1.0
    relay.assert_balanced()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:80"}, 200),
        ({"Host": "[::1]:8601"}, 200),
        (
            {"Host": "10.1.2.3"},
            200,
        ),  # a browser reaches a name that a stranger owns, never his address with our data
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8601"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "["}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost:81"}, 403),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://["}, 403),
    ],
)
def test_pages_of_others_may_not_ask(relay: RelayThread, headers: dict[str, str], status: int) -> None:
    for path, body in (("/", None), ("/v1/detect", jpeg()), ("/live", None)):
        got = ask(base(relay) + path, body, **headers)[0]
        assert got == (400 if path == "/live" and status == 200 else status), path  # 400: no WebSocket
    assert ask(f"{base(relay)}/metrics", Host="prometheus.example")[0] == 200


def test_headers_and_files(relay: RelayThread) -> None:
    for path, content_type in (
        ("/", "text/html; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ):
        status, headers, body = ask(base(relay) + path)
        assert (status, headers["Content-Type"]) == (200, content_type)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in body.replace(b"http://www.w3.org", b"")  # nothing from elsewhere
        assert b"https://" not in body
    assert error_of(ask(f"{base(relay)}/../config.py"))[0] == 404
    assert error_of(ask(f"{base(relay)}/v1/detect"))[0] == 405


def test_the_page_is_offered_on_loopback_only_unless_asked_for(server: FakeModelServer) -> None:
    assert RelayConfig().has_page
    assert RelayConfig(listen="[::1]:8600").has_page
    assert not RelayConfig(listen="0.0.0.0:8600").has_page
    assert not RelayConfig(listen="camera-box.example:8600").has_page
    assert RelayConfig(listen="0.0.0.0:8600", page=True).has_page
    with RelayThread(server.target, http_port=0, page=False) as relay:
        for path, body in (("/", None), ("/live", None), ("/v1/detect", jpeg())):
            assert ask(base(relay) + path, body)[0] == 404
        assert ask(f"{base(relay)}/metrics")[0] == 200


def test_a_name_may_be_allowed(server: FakeModelServer) -> None:
    with RelayThread(server.target, http_port=0, http_names=("relay.example",)) as relay:
        assert ask(f"{base(relay)}/", Host="relay.example:80")[0] == 200
        assert ask(f"{base(relay)}/", Host="other.example")[0] == 403
    with RelayThread(server.target, http_port=0, http_names=("Relay.Example",)) as relay:
        assert ask(f"{base(relay)}/", Host="relay.example")[0] == 200


@pytest.mark.parametrize("name", ["relay.example:8601", "http://relay.example", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="--http-name: expected a host's name without a port, got "):
        RelayConfig(http_names=(name,))


# --- the live page's WebSocket ----------------------------------------------------------------------------
def headers_of(data: bytes) -> list[dict[str, Any]]:
    length = struct.unpack_from(">I", data)[0]
    frames: list[dict[str, Any]] = json.loads(data[4 : 4 + length])["frames"]
    assert len(data) == 4 + length + sum(frame["bytes"] for frame in frames)
    return frames


def with_page(relay: RelayThread, use: Callable[[aiohttp.ClientWebSocketResponse], Any]) -> Any:
    """Run `use` with an open WebSocket, while one live camera streams."""

    async def run() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{base(relay)}/live") as socket:
            return await use(socket)

    source = NumberSource(None, live=True, interval_s=0.02, image=lambda _: jpeg())
    with DetectionStream(source, relay.target) as stream:
        taker = threading.Thread(target=lambda: list(stream))
        taker.start()
        try:
            return asyncio.run(run())
        finally:
            stream.stop()
            taker.join()


def test_a_page_that_does_not_draw_gets_no_more_and_then_the_newest(relay: RelayThread) -> None:
    async def use(socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_str(json.dumps({"watch": ["camera"]}))
        frames: list[int] = []
        states = 0
        while states < 3:  # about two seconds of one camera at 50 frames/s
            message = await socket.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.BINARY:
                frames += [int(header["frame"]) for header in headers_of(message.data)]
            else:
                states += "state" in json.loads(message.data)
        assert len(frames) == 2
        await socket.send_str('{"drawn": 1}')
        while True:
            message = await socket.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.BINARY:
                (header,) = headers_of(message.data)
                assert int(header["frame"]) > frames[-1] + 20  # what was between is gone, not queued
                assert header["labels"] == ["thing"] * 3
                return

    with_page(relay, use)


def test_nobody_looks_nothing_is_kept(relay: RelayThread) -> None:
    board = relay.relay._board

    async def use(socket: aiohttp.ClientWebSocketResponse) -> None:
        for watched in ([], ["camera"], []):
            await socket.send_str(json.dumps({"watch": watched}))
            await asyncio.sleep(0.5)
            view = board.views["camera"]
            assert (view.newest is not None, view.watchers) == (bool(watched), len(watched))
        await socket.send_str(json.dumps({"watch": ["camera", "nobody"]}))
        await asyncio.sleep(0.3)

    with_page(relay, use)
    relay.wait_idle()
    deadline_s = time.monotonic() + 5
    while board.views["camera"].watchers and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert board.views["camera"].newest is None
    assert not board._watched
    assert board.views["camera"].state(time.monotonic()) == "ended"  # it said good-bye


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '{"watch": 1}', '{"watch": [1]}', '{"drawn": "x"}', '{"watch": ' + "[" * 50_000,
     json.dumps({"watch": ["x"] * 65}), "x" * 200_000],
)  # fmt: skip
def test_a_page_that_makes_no_sense_is_closed(relay: RelayThread, text: str) -> None:
    async def use(socket: aiohttp.ClientWebSocketResponse) -> int:
        await socket.send_str(text)
        while not socket.closed:
            await socket.receive(timeout=10)
        return socket.close_code or 0

    assert with_page(relay, use) in (1008, 1009)


def test_the_state_tells_gaps_errors_and_versions(server: FakeModelServer, relay: RelayThread) -> None:
    numbers = (number for number in (0, 1, 5, 6))

    class Gaps(NumberSource):
        def frames(self) -> Iterator[Any]:
            from dataclasses import replace

            for frame in super().frames():
                yield replace(frame, frame_id=next(numbers))

    with DetectionStream(Gaps(4, image=lambda _: jpeg()), relay.target) as stream:
        assert len(list(stream)) == 4
    relay.wait_idle()
    (camera,) = relay.relay._board.summary()["cameras"]
    assert camera["state"] == "ended"
    assert (camera["delivered"], camera["dropped"], camera["versions"]) == (4, {"camera": 3}, {"1": 4})
