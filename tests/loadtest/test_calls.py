"""Callers of a model server: closed and open, hung servers, and the two ways to ask."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import gevent
import pytest

from loadtest import calls
from loadtest.calls import Call, Caller, CallError, predict_call, rest_call
from loadtest.plan import Target
from loadtest.profile import CallLoad
from loadtest.stack import StandInConfig, StandIns
from loadtest.stream import Seen


class Log:
    """What a caller told."""

    def __init__(self, call: Call, load: CallLoad) -> None:
        self.due: list[Seen] = []
        self.settled: list[Seen] = []
        self.caller = Caller("name", call, load, [b"0", b"1"], self.due.append, self.settled.append)

    def run(self, seconds: float) -> Counter[tuple[str, str]]:
        """Steps for so long, as Locust would, then the end."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.caller.step()
        self.caller.finish()
        assert len(self.due) == len(self.settled)
        return Counter((seen.outcome, seen.detail) for seen in self.settled)


def test_a_closed_caller_asks_one_after_another() -> None:
    running: list[bytes] = []

    def call(image: bytes) -> str:
        assert running == []
        running.append(image)
        gevent.sleep(0.15)  # longer than one step waits
        running.clear()
        return "v3"

    log = Log(call, CallLoad())
    fates = log.run(0.5)
    assert fates == {("delivered", "v3"): pytest.approx(4, abs=1)}
    assert all(0.14 < seen.age_s < 0.3 for seen in log.settled)


def test_an_open_caller_asks_when_it_is_due_whatever_comes_back() -> None:
    """Answers take 0.3 s, calls are due every 20 ms, and the process stands still for 0.2 s: none is left out, and
    the ages of those that were sent late have that in them."""
    stalled = False

    def call(_: bytes) -> str:
        nonlocal stalled
        if not stalled:
            stalled = True
            time.sleep(0.2)  # blocks all greenlets
        gevent.sleep(0.3)
        return "v1"

    log = Log(call, CallLoad(rate=50))
    assert log.run(1.0) == {("delivered", "v1"): pytest.approx(50, abs=3)}
    gaps = [b.due_s - a.due_s for a, b in zip(log.due, log.due[1:], strict=False)]
    assert gaps == pytest.approx([0.02] * len(gaps))
    assert max(seen.age_s for seen in log.settled) == pytest.approx(0.5, abs=0.06)
    assert max(seen.late_s for seen in log.settled) == pytest.approx(0.18, abs=0.04)


@pytest.mark.parametrize("rate", [0.0, 20.0])
def test_a_hung_server_loses_calls_and_is_not_waited_for(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "DRAIN_S", 0.2)

    def hangs(_: bytes) -> str:
        gevent.sleep(60)
        return ""

    began_s = time.monotonic()
    log = Log(hangs, CallLoad(rate))
    assert set(log.run(0.3)) == {("lost", "")}
    assert time.monotonic() - began_s < 1.5
    assert len(log.due) == (1 if not rate else pytest.approx(6, abs=2))


def test_calls_that_are_too_many_are_unsent_and_errors_have_their_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "OUTSTANDING", 2)
    monkeypatch.setattr(calls, "DRAIN_S", 0.1)

    def slow(_: bytes) -> str:
        gevent.sleep(60)
        return ""

    fates = Log(slow, CallLoad(rate=50)).run(0.3)
    assert fates["lost", ""] == 2
    assert fates["dropped", "unsent"] > 5

    def fails(image: bytes) -> str:
        gevent.sleep(0.01)
        raise CallError("UNAVAILABLE", "gone") if image == b"0" else KeyError("a bug")

    log = Log(fails, CallLoad())
    assert set(log.run(0.1)) == {("errored", "UNAVAILABLE"), ("errored", "KeyError")}
    assert "UNAVAILABLE: gone" in {seen.message for seen in log.settled}


def test_predict_over_grpc_tells_its_version_and_its_errors() -> None:
    with StandIns(("v2",), StandInConfig(0)) as servers:
        target = Target(server=str(servers.addresses["v2"]))
        call = predict_call(target, 5)
        assert call(b"x") == "v2"
        servers.kill("v2")
        with pytest.raises(CallError) as caught:
            call(b"x")
        assert caught.value.code == "UNAVAILABLE"
        servers.start("v2")
    with StandIns(("v1",), StandInConfig(3000)) as servers, pytest.raises(CallError) as caught:
        predict_call(Target(server=str(servers.addresses["v1"])), 0.2)(b"x")
    assert caught.value.code == "DEADLINE_EXCEEDED"


@contextmanager
def rest_server(status: int, answer: bytes) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A stand-in's URL, and what it was asked."""
    asked: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [(200, b'{"predictions": []}', ""), (503, b"busy", "HTTP 503"), (200, b"{}", "INTERNAL"), (200, b"[", "INTERNAL")],
)  # fmt: skip
def test_predict_over_rest(status: int, answer: bytes, code: str) -> None:
    with rest_server(status, answer) as (url, asked):
        call = rest_call(Target(rest=url), 5)
        if code:
            with pytest.raises(CallError) as caught:
                call(b"\x01\x02")
            assert caught.value.code == code
        else:
            assert call(b"\x01\x02") == ""
    ((path, body),) = asked
    assert path == "/v1/models/yolov8:predict"
    assert json.loads(body)["instances"] == [{"image_bytes": {"b64": "AQI="}}]


def test_rest_where_nobody_listens() -> None:
    with rest_server(200, b"") as (url, _):
        pass
    with pytest.raises(CallError, match="refused"):
        rest_call(Target(rest=url), 1)(b"x")
