"""How peers are called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.clients import Http
from bench.engines import Detect
from bench.serve import concurrent


class Peer(BaseHTTPRequestHandler):
    """Answers with what it got; ends a connection after its second answer; fails for the image `bad`."""

    protocol_version = "HTTP/1.1"
    answered = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/form":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            form = BytesParser(policy=policy.HTTP).parsebytes(head + body)
            (part,) = form.iter_parts()
            body = part.get_content()
        self.send_response(500 if body == b"bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.answered += 1
        self.close_connection = self.answered == 2

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Peer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("path", ["/body", "/form"])
def test_each_caller_gets_its_answers_over_connections_that_may_end(port: int, path: str) -> None:
    image = bytes(range(256)) * 2000
    one, other = Http(port, path, form=path == "/form")(2)
    for _ in range(5):
        assert (one(image), other(image[:9])) == (image, image[:9])


def test_what_is_no_answer_is_told(port: int) -> None:
    (ask,) = Http(port, "/body", form=False)(1)
    with pytest.raises(RuntimeError, match=r"/body answered b'HTTP/1.1 500"):
        ask(b"bad")


def test_a_peer_runs_as_many_detections_at_once_as_it_has_instances() -> None:
    """And no detector is used by two at once."""
    together = threading.Barrier(2, timeout=10)
    busy: list[threading.Lock] = []

    class Network:
        runtime = "onnxruntime"

        def detectors(self, instances: int, threads: int) -> list[Detect]:
            return [self._detector() for _ in range(instances)]

        def _detector(self) -> Detect:
            lock = threading.Lock()
            busy.append(lock)

            def detect(jpeg: bytes) -> list[list[float]]:
                assert lock.acquire(blocking=False)
                together.wait()
                lock.release()
                return [[float(len(jpeg))]]

            return detect

    async def run() -> list[list[list[float]]]:
        detect = concurrent(Network(), 2, 1)  # type: ignore[arg-type]
        return await asyncio.gather(*(detect(b"x" * size) for size in range(6)))

    assert asyncio.run(run()) == [[[float(size)]] for size in range(6)]
    assert len(busy) == 2
