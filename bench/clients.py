"""How a peer is called: by connections that stay open, one for each caller. Picklable, for processes of their own."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from bench.serve import METHOD, SERVICE
from client.bare import Unary
from client.http2 import message
from sightline.bench.worker import Detect
from sightline.ports import LOOPBACK

BOUNDARY = "sightline-bench"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Http:
    """POST to `path`: the image as the body, or, for `form`, as the file `image` of a form."""

    port: int
    path: str
    form: bool

    def __call__(self, callers: int) -> list[Detect]:
        """What each of `callers` calls."""
        return [self._caller() for _ in range(callers)]

    def _caller(self) -> Detect:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=TIMEOUT_S)
        kind = f"multipart/form-data; boundary={BOUNDARY}" if self.form else "image/jpeg"

        def ask(jpeg: bytes) -> http.client.HTTPResponse:
            connection.request("POST", self.path, _form(jpeg) if self.form else jpeg, {"Content-Type": kind})
            return connection.getresponse()

        def detect(jpeg: bytes) -> object:
            try:
                answer = ask(jpeg)
            except ConnectionError:  # kept open, but not while the others had their turns
                connection.close()
                answer = ask(jpeg)
            body = answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"{self.path} answered {answer.status}: {body[:200]!r}")
            return json.loads(body)

        return detect


@dataclass(frozen=True)
class Grpc:
    """A unary call by a caller that costs next to nothing; the image is the message."""

    port: int

    def __call__(self, callers: int) -> list[Detect]:
        """What each of `callers` calls."""
        return [self._caller() for _ in range(callers)]

    def _caller(self) -> Detect:
        call = Unary(f"{LOOPBACK}:{self.port}", f"/{SERVICE}/{METHOD}").call
        return lambda jpeg: json.loads(call(message(jpeg)))


def _form(jpeg: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="frame.jpg"\r\n'
    return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
