"""How a peer is called: by connections that stay open, one for each caller, which cost next to nothing, as ours do.

A request is bytes that are ready, an answer is not looked at (`bench.agreement` looks at one of each before).
Picklable, for processes of their own.
"""

from __future__ import annotations

import functools
import re
import socket
from dataclasses import dataclass

from bench.serve import METHOD, SERVICE
from client.bare import Unary
from client.http2 import message
from sightline.bench.worker import Detect
from sightline.ports import LOOPBACK

BOUNDARY = "sightline-bench"
TIMEOUT_S = 60
_READ_BYTES = 1 << 18
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Http:
    """POST to `path`: the image as the body, or, for `form`, as the file `image` of a form. Answers are bodies."""

    port: int
    path: str
    form: bool

    def __call__(self, callers: int) -> list[Detect]:
        """What each of `callers` calls."""
        return [self._caller() for _ in range(callers)]

    def _caller(self) -> Detect:
        connection = _Http1(self.port, self.path)
        kind = f"multipart/form-data; boundary={BOUNDARY}" if self.form else "image/jpeg"

        @functools.cache  # the few images come again and again
        def request(jpeg: bytes) -> bytes:
            body = _form(jpeg) if self.form else jpeg
            head = f"POST {self.path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: {kind}\r\n"
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

        return lambda jpeg: connection.ask(request(jpeg))


class _Http1:
    """One connection, kept open. Raises RuntimeError for an answer other than 200 with a length."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> bytes:
        """The answer's body."""
        try:
            return self._ask(request)
        except ConnectionError:  # it was kept open, but not while the others had their turns
            self.close()
            return self._ask(request)

    def close(self) -> None:
        """The connection; the next call opens one."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    __del__ = close

    def _ask(self, request: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection((LOOPBACK, self._port), TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        data = self._read()
        while (head := data.find(_END_OF_HEAD)) < 0:
            data += self._read()
        length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", data[: head + 2], re.IGNORECASE)
        body = data[head + len(_END_OF_HEAD) :]
        if length is None or not data.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{self._path} answered {data[:200]!r}")
        while len(body) < int(length[1]):
            body += self._read()
        return body

    def _read(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError(f"{self._path}: the connection was closed")
        return data


@dataclass(frozen=True)
class Grpc:
    """A unary call; the image is the message. Answers are messages."""

    port: int

    def __call__(self, callers: int) -> list[Detect]:
        """What each of `callers` calls."""
        return [self._caller() for _ in range(callers)]

    def _caller(self) -> Detect:
        call = Unary(f"{LOOPBACK}:{self.port}", f"/{SERVICE}/{METHOD}").call
        request = functools.cache(message)
        return lambda jpeg: call(request(jpeg))


def _form(jpeg: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="frame.jpg"\r\n'
    return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
