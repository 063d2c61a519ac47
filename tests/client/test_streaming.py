"""A stream through a relay to a model server: order, conservation, and what happens when any of them fails."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from signal import SIGINT, SIGKILL, SIGTERM

import grpc
import pytest

from client import (
    DetectionStream,
    DirectTransport,
    Frame,
    Result,
    Status,
    StreamConfig,
    Unreachable,
    WrongService,
)
from tests.client.fakes import FakeModelServer, NumberSource, RelayProcess, RelayThread, image_of

FILE = StreamConfig(max_age_s=0)
QUICK = StreamConfig(max_age_s=0, backoff_min_s=0.02, backoff_max_s=0.1)


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as fake:
        yield fake


@pytest.fixture
def relay(server: FakeModelServer) -> Iterator[RelayThread]:
    with RelayThread(server.target) as running:
        yield running
    running.assert_balanced()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(stream: DetectionStream) -> list[Result]:
    """All results, with what always holds for them."""
    with stream:
        results = list(stream)
    check(stream, results)
    return results


def check(stream: DetectionStream, results: list[Result]) -> None:
    account = stream.account
    assert account.balanced, account
    assert len(results) == account.captured
    assert [result.frame.frame_id for result in results] == list(range(len(results)))
    for result in results:
        outcomes = (result.detections, result.reason, result.error)
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert sum(result.stages_ms.values()) == pytest.approx(result.age_s * 1e3, abs=1.0)


def kept(stream: DetectionStream, results: list[Result]) -> Iterator[Result]:
    """The stream's results, each appended to `results` as it goes by."""
    for result in stream:
        results.append(result)
        yield result


def reasons(results: list[Result]) -> set[str]:
    return {str(result.reason) for result in results if result.status is Status.DROPPED}


def test_an_image_larger_than_a_message_is_an_error_of_its_frame_alone(relay: RelayThread) -> None:
    source = NumberSource(6, image=lambda number: image_of(number, 20 << 20 if number == 2 else 1000))
    stream = DetectionStream(source, relay.target, FILE)
    results = run(stream)
    assert [result.status for result in results] == [Status.DELIVERED] * 2 + [Status.ERRORED] + [
        Status.DELIVERED
    ] * 3
    assert results[2].error == "INVALID_ARGUMENT: image: 20971520 bytes; a relay takes up to 16711680"
    assert stream.reconnects == 0


@pytest.mark.parametrize("as_content", [False, True])
def test_file_all_frames_delivered_in_order(
    server: FakeModelServer, relay: RelayThread, as_content: bool
) -> None:
    server.as_content = as_content
    results = run(DetectionStream(NumberSource(40), relay.target, FILE))
    assert len(results) == 40
    for number, result in enumerate(results):
        assert result.detections is not None, result
        assert len(result.detections) == number % 4
        assert result.detections.boxes.shape == (number % 4, 4)
        assert set(result.detections.class_ids.tolist()) <= {number}
        assert set(result.detections.labels) <= {"thing"}
        assert (result.model_name, result.model_version) == ("yolov8", 1)
    stages = ["wait", "encode", "network", "relay_queue", "predict", "relay_order", "post"]
    assert list(results[0].stages_ms) == stages
    assert results[0].stages_ms["post"] > 0
    assert server.most_busy <= 2
    relay.wait_idle()
    assert relay.count("sightline_relay_served_total", model_version="1") == 40


def test_results_stay_in_order_when_the_server_answers_out_of_order(
    server: FakeModelServer, relay: RelayThread
) -> None:
    def slow_even(number: int) -> bytes:
        time.sleep(0.02 * (number % 2 == 0))
        from tests.client.fakes import response_of

        return response_of(number)

    server.respond = slow_even
    results = run(DetectionStream(NumberSource(30), relay.target, FILE))
    assert all(result.status is Status.DELIVERED for result in results)


def test_direct_to_a_model_server(server: FakeModelServer) -> None:
    results = run(DetectionStream(NumberSource(20), DirectTransport(server.target, version="v2"), FILE))
    assert all(result.status is Status.DELIVERED for result in results)
    assert list(results[0].stages_ms) == ["wait", "encode", "predict", "post"]
    assert results[0].stages_ms["post"] > 0
    assert server.requests[0]["version"] == "v2"


def test_direct_expires_and_errs_as_the_relay_does(server: FakeModelServer) -> None:
    server.latency_s = 0.2
    transport = DirectTransport(server.target)
    results = run(DetectionStream(NumberSource(3), transport, StreamConfig(max_age_s=0.1)))
    assert reasons(results) == {"expired"}
    server.latency_s = 0.0
    results = run(DetectionStream(NumberSource(3), DirectTransport(server.target, model_name="other"), FILE))
    assert {result.error for result in results} == {
        "NOT_FOUND: Servable not found for request: Latest(other)"
    }


def test_direct_server_killed_and_back(server: FakeModelServer) -> None:
    results: list[Result] = []
    source = NumberSource(None, live=True, interval_s=0.01)
    with DetectionStream(source, DirectTransport(server.target), QUICK) as stream:
        next(result for result in kept(stream, results) if result.status is Status.DELIVERED)
        server.kill()
        next(result for result in kept(stream, results) if result.reason == "unsent")
        server.start()
        next(result for result in kept(stream, results) if result.status is Status.DELIVERED)
        stream.stop()
        results += stream
    check(stream, results)


def test_slow_server_keeps_results_fresh(server: FakeModelServer, relay: RelayThread) -> None:
    server.latency_s = 0.05
    source = NumberSource(150, live=True, interval_s=0.005)
    results = run(DetectionStream(source, relay.target, FILE))
    delivered = [result for result in results if result.status is Status.DELIVERED]
    assert len(delivered) >= 10
    # If frames queued, the last would be 150 × 50 ms / 2 old.
    assert max(result.age_s for result in delivered) < 1.5
    allowed = {"source_overrun", "mailbox", "unsent"}  # unsent: what came before there was a connection
    assert "source_overrun" in reasons(results) <= allowed


def test_expired_frames_are_dropped(server: FakeModelServer, relay: RelayThread) -> None:
    server.latency_s = 0.2
    source = NumberSource(20, live=True, interval_s=0.01)
    results = run(DetectionStream(source, relay.target, StreamConfig(max_age_s=0.1)))
    assert not any(result.status is Status.DELIVERED for result in results)
    assert "expired" in reasons(results)
    # What is left of 0.1 s, the relay's patience (4 × 0.2 s once it knows the server), and what proxies get.
    assert all(timeout is not None and timeout <= 1.1 for timeout in server.timeouts_s)


def test_corrupt_frames_are_errors_and_the_stream_goes_on(relay: RelayThread) -> None:
    def image(number: int) -> bytes:
        return image_of(number) if number % 3 else (b"", b"garbage", b"\x00" * 9_000_000)[number // 3 % 3]

    results = run(DetectionStream(NumberSource(30, image=image), relay.target, FILE))
    for number, result in enumerate(results):
        assert (result.status is Status.DELIVERED) == (number % 3 > 0)
    messages = {result.error for result in results if result.error}
    assert messages == {
        "INVALID_ARGUMENT: image is neither JPEG nor PNG",
        "INVALID_ARGUMENT: image: expected a JPEG or PNG file, got nothing",
        "INVALID_ARGUMENT: image: 9000000 bytes; the relay takes up to 8388608 (--max-image-bytes)",
    }
    relay.wait_idle()
    assert relay.count("sightline_relay_frames_total", outcome="errored", reason="INVALID_ARGUMENT") == 10


def test_server_killed_and_back(server: FakeModelServer, relay: RelayThread) -> None:
    """Frames err while it is away; the stream goes on by itself."""
    server.latency_s = 0.005
    results: list[Result] = []
    with DetectionStream(NumberSource(None, live=True, interval_s=0.01), relay.target, QUICK) as stream:
        results += itertools.islice(stream, 20)
        server.kill()
        failed = next(result for result in kept(stream, results) if result.status is Status.ERRORED)
        assert str(failed.error).startswith("UNAVAILABLE: ")
        server.start()
        back = time.monotonic()
        next(result for result in kept(stream, results) if result.status is Status.DELIVERED)
        assert time.monotonic() - back < 3
        stream.stop()
        results += stream
    check(stream, results)
    assert stream.reconnects == 0


@pytest.mark.parametrize("live", [True, False])
def test_relay_killed_and_back(server: FakeModelServer, live: bool) -> None:
    """What was sent is dropped{disconnected}, what cannot be sent is dropped{unsent}, then it goes on."""
    server.latency_s = 0.02
    with RelayProcess(server.target, f"127.0.0.1:{free_port()}") as relay:
        source = NumberSource(None, live=live, interval_s=0.005 if live else 0)
        results: list[Result] = []
        with DetectionStream(source, relay.target, QUICK) as stream:
            next(result for result in kept(stream, results) if result.status is Status.DELIVERED)
            relay.signal(SIGKILL)
            next(result for result in kept(stream, results) if result.reason == "disconnected")
            relay.start()
            next(result for result in kept(stream, results) if result.status is Status.DELIVERED)
            stream.stop()
            results += stream
        check(stream, results)
        assert stream.reconnects >= 1
        assert ("unsent" in reasons(results)) == live


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_relay_drains_on_a_signal(server: FakeModelServer, number: int) -> None:
    """Frames in flight are delivered, the waiting one is dropped{shutdown}, the exit status is 0."""
    server.latency_s = 0.5
    with RelayProcess(server.target, f"127.0.0.1:{free_port()}") as relay:
        with DetectionStream(NumberSource(4), relay.target, StreamConfig(max_age_s=0, window=4)) as stream:
            while len(server.requests) < 2:
                time.sleep(0.01)
            time.sleep(0.1)
            status, log = relay.signal(number)
            assert status == 0, log
            results = list(itertools.islice(stream, 3))
            stream.stop()
            results += stream
        check(stream, results)
        assert [result.status for result in results[:2]] == [Status.DELIVERED] * 2
        assert results[2].reason == "shutdown"
        assert str(results[3].reason) in ("shutdown", "unsent")


def test_stop_delivers_what_is_in_flight(server: FakeModelServer, relay: RelayThread) -> None:
    server.latency_s = 0.1
    with DetectionStream(NumberSource(None), relay.target, FILE) as stream:
        results = [next(stream)]
        stream.stop()
        started = time.monotonic()
        results += stream
        assert time.monotonic() - started < 1
    check(stream, results)
    assert len(results) > 2
    assert reasons(results) == {"shutdown"}
    assert sum(result.status is Status.DELIVERED for result in results) >= 2


def test_close_without_reading_results_accounts_for_every_frame(relay: RelayThread) -> None:
    stream = DetectionStream(NumberSource(None, live=True, interval_s=0.001), relay.target, FILE)
    time.sleep(0.2)
    stream.close()
    assert stream.account.balanced
    assert stream.account.captured > 10


def test_stop_with_a_server_that_hangs_ends_after_drain(server: FakeModelServer, relay: RelayThread) -> None:
    server.latency_s = 1.0
    with DetectionStream(NumberSource(None), relay.target, StreamConfig(max_age_s=0, drain_s=0.1)) as stream:
        time.sleep(0.2)
        started = time.monotonic()
        stream.close()
        assert time.monotonic() - started < 0.6
        results = list(stream)
    check(stream, results)
    assert reasons(results) == {"shutdown"}


def test_overload_is_shared_fairly_and_a_greedy_camera_hurts_only_itself(
    server: FakeModelServer,
) -> None:
    server.latency_s = 0.02
    with RelayThread(server.target, in_flight=4) as relay:
        sources = [
            NumberSource(None, live=True, interval_s=0.0005 if i == 0 else 0.02, camera_id=f"camera{i}")
            for i in range(8)
        ]
        config = StreamConfig(max_age_s=0.5)
        streams = [DetectionStream(source, relay.target, config) for source in sources]
        taken: dict[int, list[Result]] = {i: [] for i in range(8)}
        until = time.monotonic() + 2.5
        import threading

        def take(i: int) -> None:
            for result in streams[i]:
                taken[i].append(result)
                if time.monotonic() > until:
                    streams[i].stop()

        threads = [threading.Thread(target=take, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        for i, stream in enumerate(streams):
            stream.close()
            check(stream, taken[i])
        shares = [stream.account.delivered for stream in streams]
        assert sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)) >= 0.98, shares
        assert server.most_busy <= 4
    relay.assert_balanced()


def test_nobody_there_is_one_clear_error() -> None:
    target = f"127.0.0.1:{free_port()}"
    config = StreamConfig(connect_timeout_s=0.3, backoff_min_s=0.02)
    for live in (True, False):
        stream = DetectionStream(NumberSource(5, live=live, interval_s=0.1), target, config)
        results: list[Result] = []
        with pytest.raises(Unreachable, match=target):
            results.extend(stream)
        check(stream, results)
        assert reasons(results) <= {"unsent", "shutdown"}


def test_a_model_server_in_the_relays_place_is_the_wrong_service(server: FakeModelServer) -> None:
    stream = DetectionStream(NumberSource(5), server.target, FILE)
    with pytest.raises(WrongService, match="no Sightline relay"):
        list(stream)
    assert stream.account.balanced


def test_what_the_source_raises_comes_out_after_the_last_result(relay: RelayThread) -> None:
    def image(number: int) -> bytes:
        if number == 3:
            raise OSError("the disk is gone")
        return image_of(number)

    stream = DetectionStream(NumberSource(9, image=image), relay.target, FILE)
    results: list[Result] = []
    with pytest.raises(OSError, match="the disk is gone"):
        results.extend(stream)
    check(stream, results)
    assert [result.status for result in results] == [Status.DELIVERED] * 3


def test_metadata_goes_on_to_the_server(server: FakeModelServer, relay: RelayThread) -> None:
    from client import RelayTransport

    source = NumberSource(1, camera_id="Küche 1")
    run(DetectionStream(source, RelayTransport(relay.target, version="v2"), FILE))
    assert server.requests[0]["version"] == "v2"
    assert server.requests[0]["sightline-camera-id"] == "K%C3%BCche%201"


def test_errors_of_the_server_are_the_frames_errors(server: FakeModelServer, relay: RelayThread) -> None:
    server.error = (grpc.StatusCode.RESOURCE_EXHAUSTED, "the quota is used up")
    results = run(DetectionStream(NumberSource(3), relay.target, FILE))
    assert {result.error for result in results} == {"RESOURCE_EXHAUSTED: the quota is used up"}


def test_async_for(relay: RelayThread) -> None:
    async def collect(camera: int) -> list[Result]:
        with DetectionStream(NumberSource(20, camera_id=f"camera{camera}"), relay.target, FILE) as stream:
            results = [result async for result in stream]
        check(stream, results)
        return results

    async def main() -> list[list[Result]]:
        return await asyncio.gather(*(collect(camera) for camera in range(10)))

    assert [len(results) for results in asyncio.run(main())] == [20] * 10


def test_two_async_fors_share_the_results_of_one_stream(relay: RelayThread) -> None:
    async def main() -> tuple[list[int], list[int]]:
        stream = DetectionStream(NumberSource(20, interval_s=0.01), relay.target, FILE)

        async def collect() -> list[int]:
            return [result.frame.frame_id async for result in stream]

        return await asyncio.wait_for(asyncio.gather(collect(), collect()), 10)

    first, second = asyncio.run(main())
    assert sorted(first + second) == list(range(20))


def test_leaving_an_async_for_early_stops_the_stream(relay: RelayThread) -> None:
    async def main() -> DetectionStream:
        stream = DetectionStream(NumberSource(None, live=True, interval_s=0.01), relay.target, FILE)
        results = aiter(stream)
        await anext(results)
        await results.aclose()
        return stream

    stream = asyncio.run(main())
    stream.close()
    assert stream.account.balanced


def test_breaking_out_of_an_async_for_stops_the_stream(relay: RelayThread) -> None:
    async def main() -> DetectionStream:
        stream = DetectionStream(NumberSource(None, live=True, interval_s=0.01), relay.target, FILE)
        async for _ in stream:
            break
        return stream

    stream = asyncio.run(main())
    list(stream)  # ends
    assert stream.account.balanced


@pytest.mark.parametrize("through", [lambda stream: stream, aiter])
def test_a_timeout_of_anext_loses_no_result_and_stops_nothing(
    relay: RelayThread, through: Callable[[DetectionStream], AsyncIterator[Result]]
) -> None:
    async def main() -> tuple[list[int], int]:
        numbers, timeouts = [], 0
        async with DetectionStream(NumberSource(8, interval_s=0.05), relay.target, FILE) as stream:
            results = through(stream)
            while True:
                try:
                    numbers.append((await asyncio.wait_for(anext(results), 0.01)).frame.frame_id)
                except TimeoutError:
                    timeouts += 1
                except StopAsyncIteration:
                    return numbers, timeouts

    numbers, timeouts = asyncio.run(asyncio.wait_for(main(), 20))
    assert numbers == list(range(8))
    assert timeouts > 3


def test_async_with_closes_without_blocking_the_event_loop(
    server: FakeModelServer, relay: RelayThread
) -> None:
    server.latency_s = 0.5

    async def main() -> tuple[DetectionStream, float]:
        async with DetectionStream(NumberSource(1), relay.target, FILE) as stream:
            while not server.busy:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            ticking = asyncio.create_task(longest_pause_s())
        ticking.cancel()
        return stream, await ticking

    stream, pause_s = asyncio.run(main())
    assert stream.account.balanced
    assert stream.account.delivered == 1
    assert pause_s < 0.3


async def longest_pause_s() -> float:
    """Of the event loop, until cancelled."""
    longest_s = 0.0
    while True:
        began_s = time.monotonic()
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            return longest_s
        longest_s = max(longest_s, time.monotonic() - began_s)


def test_what_ends_a_stream_is_raised_by_anext_once() -> None:
    class Broken(NumberSource):
        def frames(self) -> Iterator[Frame]:
            raise OSError("no camera")

    async def main() -> None:
        async with DetectionStream(Broken(0), "127.0.0.1:1", FILE) as stream:
            with pytest.raises(OSError, match="no camera"):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    asyncio.run(main())
