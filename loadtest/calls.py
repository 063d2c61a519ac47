"""Callers of a model server: Predict over gRPC, and over REST. Greenlets: import this in a patched process only."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import gevent
import grpc
from gevent.pool import Pool
from geventhttpclient import HTTPClient

from client.channel import CHANNEL_OPTIONS
from client.predict import PREDICT, parse_response, request_bytes
from client.types import DropReason, Status
from loadtest.plan import Target
from loadtest.profile import CallLoad
from loadtest.stream import DRAIN_S, LOST, Seen
from model.contract import INPUT_IMAGE_BYTES, SIGNATURE

# An image -> the version that served it, "" where it isn't told. Raises CallError.
Call = Callable[[bytes], str]
WAIT_S = 0.1  # of one step for an answer, at most: then Locust gets to say that the user shall stop
OUTSTANDING = 1000  # calls of one user under way, at most: with more, a due call is dropped as unsent


class CallError(Exception):
    """A call failed: `code`, a gRPC status or HTTP code, and what was said."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Caller:
    """One user: a call after the other (closed), or at a constant rate whatever comes back (open)."""

    def __init__(
        self,
        name: str,
        call: Call,
        load: CallLoad,
        images: Sequence[bytes],
        on_due: Callable[[Seen], None],
        on_settled: Callable[[Seen], None],
    ) -> None:
        self._call, self._load, self._images = call, load, images
        self._on_due, self._on_settled = on_due, on_settled
        self._pool = Pool(OUTSTANDING)
        self._under_way: dict[int, Seen] = {}
        self._number = 0
        # Users who begin together are not in step; the same user has the same phase in each run.
        phase_s = random.Random(name).random() / load.rate if load.rate else 0.0
        self._due_s = time.monotonic() + phase_s

    def step(self) -> None:
        """One call: made now and waited for, 0.1 s at a time, or begun when it is due."""
        if not self._load.rate:
            if not self._under_way:
                self._begin(Seen(time.monotonic()))
            self._pool.join(WAIT_S)
            return
        gevent.sleep(max(0.0, self._due_s - time.monotonic()))
        seen = Seen(self._due_s, time.monotonic() - self._due_s)
        self._due_s += 1 / self._load.rate
        self._begin(seen)

    def finish(self) -> None:
        """Wait up to 5 s for what is under way, and call the rest lost."""
        self._pool.join(DRAIN_S)
        for number in list(self._under_way):
            self._settle(number, LOST, "")
        self._pool.kill(block=False)

    def _begin(self, seen: Seen) -> None:
        number = self._number
        self._number += 1
        self._on_due(seen)
        self._under_way[number] = seen
        if self._pool.full():
            self._settle(number, Status.DROPPED, DropReason.UNSENT)
        else:
            self._pool.spawn(self._ask, number, self._images[number % len(self._images)])

    def _ask(self, number: int, image: bytes) -> None:
        try:
            version = self._call(image)
        except (
            Exception
        ) as error:  # what no call foresaw is an error of it too, or a closed user would wait for ever
            code = error.code if isinstance(error, CallError) else type(error).__name__
            self._settle(number, Status.ERRORED, code, f"{code}: {error}")
        else:
            self._settle(number, Status.DELIVERED, version)

    def _settle(self, number: int, outcome: str, detail: str, message: str = "") -> None:
        seen = self._under_way.pop(number, None)
        if seen is None:
            return  # an answer after all to what was called lost
        seen.message = message
        seen.outcome, seen.detail, seen.age_s = str(outcome), str(detail), time.monotonic() - seen.due_s
        self._on_settled(seen)


def predict_call(target: Target, timeout_s: float) -> Call:
    """Predict at `target.server`, on a connection of its own."""
    predict = grpc.insecure_channel(target.server, CHANNEL_OPTIONS).unary_unary(PREDICT)

    def call(image: bytes) -> str:
        try:
            # Not a blocking call: under gevent each of those keeps a thread of its own busy.
            answer = predict.future(
                request_bytes(target.model_name, SIGNATURE, image), timeout=timeout_s
            ).result()
            return f"v{parse_response(answer).model_version}"
        except grpc.RpcError as error:
            raise CallError(error.code().name, error.details() or "") from None
        except ValueError as error:
            raise CallError("INTERNAL", str(error)) from None

    return call


def rest_call(target: Target, timeout_s: float) -> Call:
    """POST .../v1/models/MODEL:predict at `target.rest`; REST doesn't tell the version."""
    url = urlsplit(target.rest)
    path = f"{url.path.rstrip('/')}/v1/models/{target.model_name}:predict"
    client = HTTPClient(
        url.hostname, url.port, ssl=url.scheme == "https", headers={"Content-Type": "application/json"},
        concurrency=OUTSTANDING, connection_timeout=timeout_s, network_timeout=timeout_s,
    )  # fmt: skip

    def call(image: bytes) -> str:
        instance = {INPUT_IMAGE_BYTES: {"b64": base64.b64encode(image).decode()}}
        body = json.dumps({"signature_name": SIGNATURE, "instances": [instance]})
        try:
            response = client.post(path, body)
            answer, code = response.read(), response.status_code
        except Exception as error:  # sockets, TLS and the parser each have their own
            raise CallError(type(error).__name__, str(error)) from None
        if code != 200:
            raise CallError(f"HTTP {code}", bytes(answer[:200]).decode("utf-8", "replace"))
        try:
            json.loads(answer)["predictions"]
        except (ValueError, KeyError, TypeError):
            raise CallError("INTERNAL", "the answer is no prediction") from None
        return ""

    return call
