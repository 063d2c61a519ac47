"""A client's end of HTTP/2 as far as the benches' gRPC calls need it, without input or output of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from client import http2


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
