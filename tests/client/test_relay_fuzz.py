"""What others send, made up: a model server's answers, a page's messages, HTTP requests. Nothing crashes or is left."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.predict import MAX_DETECTIONS, Prediction, parse_response
from client.relay.predictor import detections_of
from client.wire import tfserving_pb2 as tfs
from model.contract import OUTPUTS
from tests.client.fakes import FakeModelServer, RelayThread, response_of
from tests.client.media import jpeg

GREY = jpeg(np.full((48, 64, 3), 128, np.uint8))
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# --- answers of a model server ----------------------------------------------------------------------------
numbers = st.floats(width=32) | st.sampled_from([0.0, 1.0, 2.0, 1e9, -1.0])
tensors = st.builds(
    tfs.TensorProto,
    dtype=st.sampled_from([tfs.DT_FLOAT, tfs.DT_INT32, tfs.DT_INT64, tfs.DT_STRING, 0]),
    tensor_shape=st.lists(st.sampled_from([-1, 0, 1, 2, 4, 2**40]), max_size=4).map(
        lambda sizes: tfs.TensorShapeProto(dim=[tfs.TensorShapeProto.Dim(size=size) for size in sizes])
    ),
    tensor_content=st.just(b"") | st.binary(max_size=40),
    float_val=st.lists(numbers, max_size=6),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    int64_val=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    string_val=st.lists(st.binary(max_size=6), max_size=3),
)
# A good answer of which some outputs are others, so that more than the first check is reached.
answers = st.builds(
    lambda number, changes: _changed(response_of(number), changes),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from([*OUTPUTS, "other"]), tensors, max_size=2),
)


def _changed(answer: bytes, changes: dict[str, tfs.TensorProto]) -> bytes:
    response = tfs.PredictResponse.FromString(answer)
    for name, tensor in changes.items():
        response.outputs[name].CopyFrom(tensor)
    return bytes(response.SerializeToString())


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60) | answers)
def test_any_answer_is_detections_or_a_value_error(data: bytes) -> None:
    try:
        got = parse_response(data)
    except ValueError:
        return
    assert isinstance(got, Prediction)
    assert len(got.detections()) <= MAX_DETECTIONS
    assert len(detections_of(data).boxes) == 4 * len(got.scores)  # it fits the wire, too


# --- the HTTP side ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def relay() -> Iterator[RelayThread]:
    with FakeModelServer(respond=lambda _: response_of(3)) as server:
        with RelayThread(server.target, http_port=0, max_image_bytes=50_000) as running:
            while not running.count("sightline_relay_model_available"):  # then it is connected
                time.sleep(0.01)
            yield running
        running.assert_balanced()


def descriptors() -> int:
    return int(psutil.Process().num_fds())


def settle(count: int) -> None:
    """Until no more descriptors than `count` are open; connections close a little later."""
    until_s = time.monotonic() + 5
    while descriptors() > count:
        assert time.monotonic() < until_s, (descriptors(), count)
        time.sleep(0.01)


class Loop:
    """An event loop in a thread, so that many examples share one client."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


texts = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
messages = st.lists(
    st.builds(lambda key, value: json.dumps({key: value}), st.sampled_from(["watch", "retry", "drawn", "x"]), values)
    | st.builds(lambda ids: json.dumps({"watch": ids}), st.lists(texts, max_size=4))
    | st.just('{"drawn": 1}')
    | texts
    | st.binary(max_size=12),
    max_size=5,
)  # fmt: skip


def test_any_messages_of_a_page(relay: RelayThread, loop: Loop) -> None:
    board, url = relay.relay._board, f"http://127.0.0.1:{relay.relay.http_port}/live"
    before = descriptors()

    async def send(parts: list[str | bytes]) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            for part in parts:
                if socket.closed:
                    break
                await (socket.send_str(part) if isinstance(part, str) else socket.send_bytes(part))
            if parts and isinstance(parts[-1], bytes):  # goes without a word
                await session.close()

    @FEW
    @given(messages)
    def fuzz(parts: list[str | bytes]) -> None:
        loop.run(send(parts))

    fuzz()
    settle(before)
    pages = relay.relay._http._pages  # type: ignore[union-attr]
    assert pages is not None
    assert not pages._viewers
    assert not board._watched


methods = st.sampled_from(["POST"] * 5 + ["GET", "PUT", "HEAD", "OPTIONS", "DELETE"])
paths = st.sampled_from(["/v1/detect"] * 6 + ["/", "/live", "/metrics", "/v1/shadow", "/nothing"])
queries = st.dictionaries(
    st.sampled_from(["annotated", "timeout_s"]) | texts,
    st.sampled_from(["0", "1", "5", "nan", "-1", "1e999"]) | texts,
    max_size=2,
)
headers = st.dictionaries(
    st.sampled_from(["Content-Encoding", "Content-Type", "Origin", "Host", "X-Other"]),
    st.sampled_from(["gzip", "deflate", "br", "text/plain", "null", "localhost"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    max_size=2,
)
bodies = (
    st.binary(max_size=40)
    | st.builds(lambda cut, tail: GREY[:cut] + tail, st.integers(0, len(GREY)), st.binary(max_size=20))
    | st.just(GREY)
)


def test_any_requests(relay: RelayThread, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    base, before = f"http://127.0.0.1:{relay.relay.http_port}", descriptors()

    async def ask(
        method: str, path: str, query: dict[str, str], head: dict[str, str], body: bytes
    ) -> tuple[Any, ...]:
        async with (
            aiohttp.ClientSession(skip_auto_headers=["Accept-Encoding"]) as session,
            session.request(method, base + path, params=query, headers=head, data=body) as answer,
        ):
            return answer.status, answer.content_type, await answer.read()

    @FEW
    @given(methods, paths, queries, headers, bodies)
    def fuzz(method: str, path: str, query: dict[str, str], head: dict[str, str], body: bytes) -> None:
        status, kind, text = loop.run(ask(method, path, query, head, body))
        assert status < 500, (status, text)  # the model server answers
        if status >= 400 and kind == "application/json" and method != "HEAD":
            assert json.loads(text)["error"]

    with caplog.at_level(logging.ERROR, "sightline.relay"):
        fuzz()
    assert not [record for record in caplog.records if record.name == "sightline.relay"]
    settle(before)
    assert relay.count("sightline_relay_pending_frames") == 0
    photos = relay.relay._http._photos  # type: ignore[union-attr]
    assert photos is not None
    assert not photos._answers
    assert photos._requests == 0
