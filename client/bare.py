"""gRPC calls that cost as little as can be, so that what is measured beside them is the server, or the relay.

Python's own client takes 0.6 ms of processor time for a Predict with an image, on the cores that the server needs.
Here a request is bytes that are ready but for the stream's number, written to a socket that blocks.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Self

from client import http2
from client.channel import split_address
from client.http2_client import Connection
from client.relayed import DETECT
from client.security import Security
from client.wire import relay_pb2 as pb

_READ_BYTES = 1 << 18
_TIMEOUT_S = 30
_PAUSE_S = 5.0  # half of what a relay waits before it sends a ping
_BUFFERS = 1024  # that one sendmsg takes (IOV_MAX)


class _Caller:
    """A connection over a socket that blocks. Raises OSError where nobody listens."""

    def __init__(
        self,
        target: str,
        method: str,
        security: Security | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._target, self._method, self._security, self._metadata = target, method, security, tuple(metadata)
        self._connect()

    def _connect(self) -> None:
        security = self._security
        host, port = split_address(self._target, "target")
        self._socket = socket.create_connection((host, port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = security is not None and security.ca is not None
        if security is not None and security.ca is not None:
            context = ssl.create_default_context(cafile=security.ca)
            context.set_alpn_protocols(["h2"])
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        scheme = "https" if self._tls else "http"
        self._connection = Connection(self._target, self._method, scheme, self._metadata)

    def _write(self) -> None:
        out, self._connection.out = self._connection.out, []
        if self._tls or len(out) > _BUFFERS:
            self._socket.sendall(b"".join(out))
        elif (sent := self._socket.sendmsg(out)) < sum(map(len, out)):  # a signal came between
            self._socket.sendall(b"".join(out)[sent:])

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise RuntimeError("the other end closed the connection")
        yield from self._connection.take_in(data)
        if self._connection.out:
            self._write()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unary(_Caller):
    """Calls a unary method, one call at a time."""

    def __init__(self, target: str, method: str) -> None:
        super().__init__(target, method, metadata=[("grpc-timeout", f"{_TIMEOUT_S}S")])

    def call(self, message: bytes) -> bytes:
        """Send a request, framed as gRPC's message, and wait for the whole answer.

        Raises RuntimeError where the call fails.
        """
        stream, answer, over = self._connection.open(), b"", False
        self._connection.send(stream, message, last=True)
        self._write()
        while not over:
            for kind, number, payload in self._receive():
                if number == stream:
                    over = over or kind == http2.RESET
                    answer = payload if kind == http2.DATA else answer
        if not answer:
            raise RuntimeError("the server answered a call with an error")
        return answer


class Stream(_Caller):
    """One stream of a camera to a relay, with one frame at a time.

    Between two frames nobody reads the socket and answers the relay's pings: after a pause it is opened anew.
    """

    def __init__(self, target: str, camera_id: str, security: Security) -> None:
        super().__init__(target, DETECT, security, security.metadata(camera_id))
        self._camera_id, self._frame_id = camera_id, 0

    def _connect(self) -> None:
        super()._connect()
        self._stream = self._connection.open()
        self._heard_s = time.monotonic()

    def detect(self, image: bytes) -> pb.Result:
        """A frame that waits its turn, there and back. Raises RuntimeError if it was not delivered."""
        if time.monotonic() - self._heard_s > _PAUSE_S:
            self.close()
            self._connect()
        self._frame_id += 1
        frame = pb.Frame(camera_id=self._camera_id, frame_id=self._frame_id, image=image, wait=True)
        self._connection.send(self._stream, http2.message(frame.SerializeToString()))
        self._write()
        result: pb.Result = pb.Result.FromString(self._answer())
        self._heard_s = time.monotonic()
        if not result.HasField("delivered"):
            raise RuntimeError(f"expected detections, got {result}")
        return result

    def _answer(self) -> bytes:
        answer = b""
        while not answer:
            for kind, _, payload in self._receive():
                if kind == http2.RESET:
                    raise RuntimeError("the relay ended the stream")
                answer = payload if kind == http2.DATA else answer
        return answer
