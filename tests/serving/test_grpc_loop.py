"""The threads that answer unary calls: how many, who waits for whom, and how calls end that go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest

from serving.errors import Code, ServingError
from serving.grpc_loop import Call, Loop, Method

LIMIT = 4
SOON_S = 30.0


@dataclass
class Served:
    """A server and a channel to it."""

    server: grpc.Server
    channel: grpc.Channel

    def call(self, request: bytes = b"", path: str = "/t.T/Do") -> bytes:
        """One call."""
        answer: bytes = self.channel.unary_unary(path)(request, timeout=SOON_S)
        return answer


@pytest.fixture
def serve() -> Iterator[Callable[[Method], Served]]:
    """Serve a method as /t.T/Do."""
    made: list[Served] = []

    def serve_method(method: Method) -> Served:
        server = grpc.server(ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        Loop(server, {"/t.T/Do": method}, LIMIT).start()
        made.append(Served(server, grpc.insecure_channel(f"127.0.0.1:{port}")))
        return made[-1]

    yield serve_method
    for one in made:
        one.channel.close()
        assert one.server.stop(0).wait(SOON_S), "it must end"


def threads() -> set[threading.Thread]:
    """Those of all loops; other tests' servers have some too."""
    return {thread for thread in threading.enumerate() if thread.name == "grpc"}


def until(true: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    end_s = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def code(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[str, str]:
    """The status of a call that failed."""
    return error.value.code().name, error.value.details()


def test_one_caller_needs_two_threads(serve: Callable[[Method], Served]) -> None:
    before = threads()
    served = serve(lambda request, _: request[::-1])
    for i in range(50):
        assert served.call(b"ab%d" % i) == (b"ab%d" % i)[::-1]
    mine = threads() - before
    assert len(mine) == 2
    served.server.stop(0).wait(SOON_S)
    until(lambda: not mine & threads())


def test_as_many_as_the_limit_run_at_once_and_the_next_is_refused(serve: Callable[[Method], Served]) -> None:
    before, all_in, go_on = threads(), threading.Barrier(LIMIT + 1), threading.Event()

    def method(_: bytes, __: Call) -> bytes:
        all_in.wait(SOON_S)
        go_on.wait(SOON_S)
        return b"done"

    served = serve(method)
    calls = [served.channel.unary_unary("/t.T/Do").future(b"", timeout=SOON_S) for _ in range(LIMIT)]
    all_in.wait(SOON_S)
    with pytest.raises(grpc.RpcError) as refused:
        served.call()
    assert code(refused) == ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
    go_on.set()
    assert [call.result() for call in calls] == [b"done"] * LIMIT
    assert len(threads() - before) == LIMIT + 1


def test_who_does_not_send_holds_no_thread(serve: Callable[[Method], Served]) -> None:
    served = serve(lambda request, _: request)
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(SOON_S)
        yield from ()

    uploads = [
        served.channel.stream_unary("/t.T/Do").future(nothing(), timeout=SOON_S) for _ in range(3 * LIMIT)
    ]
    assert served.call(b"me") == b"me"
    silent.set()
    for upload in uploads:  # they end without a request
        with pytest.raises(grpc.RpcError) as ended:
            upload.result()
        assert code(ended) == ("UNIMPLEMENTED", "The call requires exactly one request message.")
    assert served.call(b"me") == b"me"


def test_who_does_not_read_holds_no_thread(serve: Callable[[Method], Served]) -> None:
    sent = threading.Semaphore(0)

    def large(request: bytes, _: Call) -> bytes:
        sent.release()
        return bytes(int(request))

    served = serve(large)
    # A stream's answers are read when they are asked for; its window is a small part of this one.
    readers = [served.channel.unary_stream("/t.T/Do")(b"3000000", timeout=SOON_S) for _ in range(3 * LIMIT)]
    for _ in readers:
        assert sent.acquire(timeout=SOON_S)
    assert served.call(b"3") == bytes(3)
    assert [len(next(reader)) for reader in readers] == [3_000_000] * len(readers)


def test_a_method_sees_that_its_call_has_ended(serve: Callable[[Method], Served]) -> None:
    begun, seen = threading.Event(), threading.Event()

    def method(_: bytes, call: Call) -> bytes:
        begun.set()
        assert 0 < call.time_remaining() <= SOON_S + 1  # gRPC rounds up
        until(lambda: not call.is_active())
        seen.set()
        return b"for nobody"

    served = serve(method)
    call = served.channel.unary_unary("/t.T/Do").future(b"", timeout=SOON_S)
    assert begun.wait(SOON_S)
    call.cancel()
    assert seen.wait(SOON_S)


def test_errors_become_statuses(serve: Callable[[Method], Served]) -> None:
    def method(request: bytes, _: Call) -> bytes:
        if request == b"bug":
            raise ZeroDivisionError("secret")
        raise ServingError(Code.NOT_FOUND, "é" * 2000)

    served = serve(method)
    with pytest.raises(grpc.RpcError) as known:
        served.call()
    assert code(known) == ("NOT_FOUND", "é" * 1024 + "...TRUNCATED")
    with pytest.raises(grpc.RpcError) as bug:
        served.call(b"bug")
    assert code(bug) == ("INTERNAL", "Internal error; the server's log has the details.")
    with pytest.raises(grpc.RpcError) as unknown:
        served.call(path="/t.T/Undo")
    assert code(unknown)[0] == "UNIMPLEMENTED"


def test_metadata_follows_the_answer(serve: Callable[[Method], Served]) -> None:
    def method(request: bytes, call: Call) -> bytes:
        call.set_trailing_metadata((("server-timing", "total;dur=1"),))
        return request

    answer, call = serve(method).channel.unary_unary("/t.T/Do").with_call(b"x", timeout=SOON_S)
    assert answer == b"x"
    assert ("server-timing", "total;dur=1") in tuple(call.trailing_metadata())


def test_a_stop_waits_for_the_calls_under_way(serve: Callable[[Method], Served]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def method(_: bytes, __: Call) -> bytes:
        begun.set()
        go_on.wait(SOON_S)
        return b"done"

    served = serve(method)
    call = served.channel.unary_unary("/t.T/Do").future(b"", timeout=SOON_S)
    assert begun.wait(SOON_S)
    stopped = served.server.stop(SOON_S)
    assert not stopped.wait(0.2)
    go_on.set()
    assert call.result() == b"done"
    assert stopped.wait(SOON_S)
