"""gRPC calls that cost as little as can be, so that what is measured beside them is the server, or the relay.

Python's own client takes 0.6 ms of processor time for a Predict with an image, on the cores that the server needs.
Here a request is bytes that are ready but for the stream's number. `Connection` does no input or output itself;
`Unary` and `Stream` do it with a socket that blocks.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Self

from client import http2
from client.channel import split_address
from client.relayed import DETECT
from client.security import Security
from client.wire import relay_pb2 as pb

_READ_BYTES = 1 << 18
_TIMEOUT_S = 30
_PAUSE_S = 5.0  # half of what a relay waits before it sends a ping
_BUFFERS = 1024  # that one sendmsg takes (IOV_MAX)


class Connection:
    """A client's end of HTTP/2, as far as calls of one gRPC method need it.

    `out` fills up with what has to be written; who writes it empties it. `metadata`: lower case names and values.
    """

    def __init__(
        self, target: str, method: str, scheme: str, metadata: Iterable[tuple[str, str]] = ()
    ) -> None:
        headers = {
            ":method": "POST",
            ":scheme": scheme,
            ":path": method,
            ":authority": target,
            "te": "trailers",
            "content-type": "application/grpc",
            **dict(metadata),
        }
        # Literals without indexing (RFC 7541, 6.2.2): each call's are the same bytes.
        self._headers = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers.items())
        self._frames = http2.Frames()
        self._window = self._first_window = http2.FIRST_WINDOW  # of the connection; of a new stream
        self._windows: dict[int, int] = {}  # of each stream
        self._max_frame = http2.FIRST_MAX_FRAME
        self._waiting: list[tuple[int, memoryview, bool]] = []  # for a window
        self._begun: dict[int, bytes] = {}  # by stream, of a message that has not come in whole
        self._next = 1
        self._read = 0  # bytes by which the connection's window towards us has shrunk
        most = http2.settings({http2.INITIAL_WINDOW: http2.MAX_WINDOW})
        self.out: list[bytes | memoryview] = [
            http2.PREFACE,
            most,
            http2.window(0, http2.MAX_WINDOW - http2.FIRST_WINDOW),
        ]

    def open(self) -> int:
        """Begin a call; its stream's number."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._first_window
        self.out.append(http2.frame(http2.HEADERS, http2.END_HEADERS, stream, self._headers))
        return stream

    def send(self, stream: int, message: bytes, *, last: bool = False) -> None:
        """A message as gRPC frames it (`http2.message`), or nothing; `last`: none follows."""
        self._waiting.append((stream, memoryview(message), last))
        self._send_what_may()

    def take_in(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """What has come: type, stream, bytes. HEADERS: an answer begins; DATA: a message; RESET: the call is over.

        Raises RuntimeError when the other end says that it takes no more calls.
        """
        for kind, flags, stream, payload in self._frames.of(data):
            if kind == http2.DATA:
                self._read += len(payload)
                for message in self._messages(stream, payload):
                    yield http2.DATA, stream, message
            elif kind == http2.HEADERS and not flags & http2.END_STREAM:
                yield http2.HEADERS, stream, payload
            elif kind == http2.GOAWAY:
                raise RuntimeError("the other end closes the connection")
            else:
                self._control(kind, flags, stream, payload)
            if kind == http2.RESET or (kind in (http2.DATA, http2.HEADERS) and flags & http2.END_STREAM):
                self._windows.pop(stream, None)
                self._begun.pop(stream, None)
                yield http2.RESET, stream, payload
        if self._read > 2**30:
            self.out.append(http2.window(0, self._read))
            self._read = 0

    def _messages(self, stream: int, payload: bytes) -> Iterator[bytes]:
        data = self._begun.pop(stream, b"") + payload
        while len(data) >= http2.MESSAGE_HEAD_BYTES:
            end = http2.MESSAGE_HEAD_BYTES + int.from_bytes(data[1 : http2.MESSAGE_HEAD_BYTES])
            if len(data) < end:
                break
            yield data[http2.MESSAGE_HEAD_BYTES : end]
            data = data[end:]
        if data:
            self._begun[stream] = data

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == http2.WINDOW:
            by = int.from_bytes(payload)
            if not stream:
                self._window += by
            elif stream in self._windows:
                self._windows[stream] += by
            self._send_what_may()
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            told = http2.settings_in(payload)
            before, self._first_window = (
                self._first_window,
                told.get(http2.INITIAL_WINDOW, self._first_window),
            )
            for known in self._windows:
                self._windows[known] += self._first_window - before
            self._max_frame = told.get(http2.MAX_FRAME_SIZE, self._max_frame)
            self.out.append(http2.frame(http2.SETTINGS, http2.ACK, 0, b""))
            self._send_what_may()
        elif kind == http2.PING and not flags & http2.ACK:
            self.out.append(http2.frame(http2.PING, http2.ACK, 0, payload))

    def _send_what_may(self) -> None:
        """Write as much as the windows allow; a stream whose own window is used up does not hold up the others."""
        waiting, self._waiting = self._waiting, []
        held: set[int] = set()
        for stream, rest, last in waiting:
            if stream not in held:
                rest = self._send_part(stream, rest, last)
            if rest:
                held.add(stream)
                self._waiting.append((stream, rest, last))

    def _send_part(self, stream: int, rest: memoryview, last: bool) -> memoryview:
        """Returns what is left to send; nothing where the call is over."""
        if stream not in self._windows:
            return memoryview(b"")
        if not rest:
            self.out.append(http2.frame(http2.DATA, http2.END_STREAM if last else 0, stream, b""))
        while rest and (room := min(self._window, self._windows[stream], self._max_frame, len(rest))) > 0:
            flags = http2.END_STREAM if last and room == len(rest) else 0
            self.out += (http2.head(http2.DATA, flags, stream, room), rest[:room])
            rest = rest[room:]
            self._window -= room
            self._windows[stream] -= room
        return rest


def _literal(text: str) -> bytes:
    """A string of HPACK (RFC 7541, 5.1 and 5.2), not compressed."""
    data = text.encode()
    length = bytearray([min(len(data), 127)])
    rest = len(data) - 127
    while rest >= 0:
        length.append(rest & 127 | (128 if rest > 127 else 0))
        rest = (rest >> 7) or -1
    return bytes(length) + data


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
