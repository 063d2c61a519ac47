"""The way to the relay fails: cut, black-holed, told to go away. The stream resumes by itself, and frames add up."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGKILL, SIGTERM

import grpc
import pytest

from client import DetectionStream, Result, Status, StreamConfig
from client.relay.config import RelayConfig
from client.relay.main import Relay
from tests.client.fakes import FakeModelServer, NumberSource, RelayProcess, RelayThread
from tests.client.proxy import Proxy

CONFIG = StreamConfig(max_age_s=0.5, backoff_min_s=0.02, backoff_max_s=0.2)
CAMERAS, FPS = 4, 50.0


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(latency_s=0.005) as fake:
        yield fake


class Taken:
    """A live camera's stream whose results are taken, with when each came."""

    def __init__(self, target: str, camera_id: str = "camera") -> None:
        source = NumberSource(None, live=True, interval_s=1 / FPS, camera_id=camera_id)
        self.stream = DetectionStream(source, target, CONFIG)
        self.results: list[tuple[float, Result]] = []
        self._taker = threading.Thread(target=self._take)
        self._taker.start()

    def _take(self) -> None:
        for result in self.stream:
            self.results.append((time.monotonic(), result))

    def wait(self, status: Status, since_s: float, seconds: float = 20.0) -> float:
        """Seconds from `since_s` until a frame captured after it came to this end."""
        until_s = time.monotonic() + seconds
        while True:
            for at_s, result in self.results:
                if result.status is status and result.frame.captured_s >= since_s:
                    return at_s - since_s
            assert time.monotonic() < until_s, status
            time.sleep(0.005)

    def finish(self) -> None:
        self.stream.close()
        self._taker.join(10)
        account = self.stream.account
        assert account.balanced, account
        assert len(self.results) == account.captured
        ids = [result.frame.frame_id for _, result in self.results]
        assert ids == list(range(len(ids)))


@contextmanager
def cameras(target: str, count: int = 1) -> Iterator[list[Taken]]:
    """So many cameras, streaming; in the end their frames must add up."""
    all_ = [Taken(target, f"camera{number}") for number in range(count)]
    try:
        for taken in all_:
            taken.wait(Status.DELIVERED, 0.0)
        yield all_
    finally:
        for taken in all_:
            taken.stream.stop()
        for taken in all_:
            taken.finish()


def recovery_s(all_: list[Taken], since_s: float) -> float:
    """Seconds until all of them delivered again."""
    return max(taken.wait(Status.DELIVERED, since_s) for taken in all_)


def test_a_connection_that_is_cut_is_made_again_at_once(
    server: FakeModelServer, record_property: Callable[[str, object], None]
) -> None:
    with RelayThread(server.target) as relay:
        with Proxy(relay.target) as proxy, cameras(proxy.target, CAMERAS) as all_:
            for _ in range(3):
                since_s = time.monotonic()
                proxy.cut()
                took_s = recovery_s(all_, since_s + 0.02)
                record_property("recovery_s", round(took_s, 3))
                assert took_s < 1.0
            assert all(taken.stream.reconnects == 3 for taken in all_)
        relay.wait_idle()
    relay.assert_balanced()


def test_a_black_hole_is_noticed_and_left(server: FakeModelServer) -> None:
    """Nothing is forwarded and nothing refused: the silence is noticed after 3 s; then the way is free again."""
    with RelayThread(server.target) as relay:
        with Proxy(relay.target) as proxy, cameras(proxy.target) as (taken,):
            since_s = time.monotonic()
            proxy.black_hole()
            taken.wait(Status.DROPPED, since_s)
            while taken.stream.connected:
                assert time.monotonic() < since_s + 6
                time.sleep(0.01)
            noticed_s = time.monotonic() - since_s
            assert 2 < noticed_s < 5, noticed_s
            proxy.black_hole(False)
            assert recovery_s([taken], time.monotonic()) < 6  # an attempt in the hole may have to time out
        relay.wait_idle()
    relay.assert_balanced()


def test_an_address_that_answers_nothing_does_not_hang_the_stream(server: FakeModelServer) -> None:
    with RelayThread(server.target) as relay, Proxy(relay.target) as proxy:
        proxy.black_hole()
        stream = Taken(proxy.target)
        time.sleep(0.5)
        began_s = time.monotonic()
        stream.finish()
        assert time.monotonic() - began_s < 2
        assert set(stream.stream.account.dropped) <= {"unsent", "shutdown"}


def test_a_goaway_moves_the_stream_to_a_new_connection(server: FakeModelServer) -> None:
    """A proxy or balancer tells connections to go after a while (here 0.5 s, and 0.5 s to finish)."""
    options = [("grpc.max_connection_age_ms", 500), ("grpc.max_connection_age_grace_ms", 500)]
    with going_away(server, options) as relay, cameras(f"127.0.0.1:{relay.port}") as (taken,):
        time.sleep(4.0)
        assert taken.stream.reconnects >= 2
        recent = [at_s for at_s, r in taken.results if r.status is Status.DELIVERED]
        gaps = [after - before for before, after in itertools.pairwise(recent)]
        assert max(gaps) < 1.0


@contextmanager
def going_away(server: FakeModelServer, options: list[tuple[str, int]]) -> Iterator[Relay]:
    from client.relay import main

    started, stop = threading.Event(), threading.Event()
    relays: list[Relay] = []

    async def serve() -> None:
        config = RelayConfig(target=server.target, listen="127.0.0.1:0", http_port=None, grace_s=2.0)
        async with Relay(config) as relay:
            relays.append(relay)
            started.set()
            await asyncio.to_thread(stop.wait)

    before = main.SERVER_OPTIONS
    main.SERVER_OPTIONS = [*before, *options]
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield relays[0]
    finally:
        main.SERVER_OPTIONS = before
        stop.set()
        thread.join(10)


def test_a_relay_that_restarts_under_load_delivers_what_is_in_flight_and_is_found_again(
    server: FakeModelServer,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with RelayProcess(server.target, address) as relay, cameras(address, CAMERAS) as all_:
        # One that stops tells its cameras so and answers what they have sent; of one that is killed a window each.
        for number, most_lost in ((SIGTERM, 0), (SIGKILL, CAMERAS * 2)):
            before = disconnected(all_)
            status, log = relay.signal(number)
            assert status == (0 if number == SIGTERM else -SIGKILL), log
            relay.start()
            wait_for_port(address)
            assert recovery_s(all_, time.monotonic()) < 4
            assert disconnected(all_) - before <= most_lost


def disconnected(all_: list[Taken]) -> int:
    return sum(taken.stream.account.dropped["disconnected"] for taken in all_)


def wait_for_port(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(15)


def test_a_server_that_restarts_under_load_is_found_again(server: FakeModelServer) -> None:
    with RelayThread(server.target) as relay:
        with cameras(relay.target, CAMERAS) as all_:
            server.kill()
            for taken in all_:
                taken.wait(Status.ERRORED, time.monotonic())
            server.start()
            assert recovery_s(all_, time.monotonic()) < 3
            assert all(taken.stream.reconnects == 0 for taken in all_)
        relay.wait_idle()
    relay.assert_balanced()


def test_a_server_that_is_black_holed_costs_frames_and_not_the_stream(server: FakeModelServer) -> None:
    with Proxy(server.target) as proxy, RelayThread(proxy.target) as relay:
        with cameras(relay.target) as (taken,):
            proxy.black_hole()
            since_s = time.monotonic()
            taken.wait(Status.DROPPED, since_s)
            time.sleep(1.0)
            assert relay.count("sightline_relay_predicts_in_flight") <= 8  # nothing piles up
            proxy.black_hole(False)
            assert recovery_s([taken], time.monotonic()) < 6
            assert taken.stream.reconnects == 0
        relay.wait_idle()
    relay.assert_balanced()
